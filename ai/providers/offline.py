"""No provider: a model that quotes what was sent to it, and says so."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool

from ai import extracts, sentences
from ai.configuration import Candidate
from ai.extracts import Sentence

MARKER = "Extract without a language model: "
NOTHING_FOUND = "Not in the sources."

_SOURCE = re.compile(r"<source\b[^>]*?\bid=\"([^\"]*)\"[^>]*>(.*?)</source>", re.DOTALL)
# Cautious: three bytes to a token, as German has; a citation is some six.
_BYTES_A_TOKEN = 3
_NO_USAGE = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)


class ExtractiveChatModel(BaseChatModel):
    """Answers with sentences of the sources in the messages, each with its source's id, in their
    order and wording; the same messages always get the same answer.

    Sources stand between tags, <source id="S1">...</source>; the question is the rest of the last
    human message. Without tags that message is the text, and the questions in it are the question.
    output_tokens: the most that an answer has, as estimated by its bytes. It calls no tools.
    """

    # LangChain's cache knows no tenants.
    cache: Any = False

    model: str
    output_tokens: int

    @property
    def _llm_type(self) -> str:
        return "galena-extractive"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> NoReturn:
        """Raises NotImplementedError: to answer as if no tool were of use would be to pretend. So
        it is with structured output, which is asked for through tools."""
        raise NotImplementedError(
            "The offline model calls no tools and makes no structured output; name a provider's"
            " model among the feature's candidates."
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        pieces, finish_reason = self._pieces(messages)
        message = AIMessage(
            "".join(pieces),
            response_metadata=self._told(finish_reason),
            usage_metadata=_NO_USAGE,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> Iterator[ChatGenerationChunk]:
        pieces, finish_reason = self._pieces(messages)
        for piece in pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        last = AIMessageChunk(
            content="",
            response_metadata=self._told(finish_reason),
            usage_metadata=_NO_USAGE,
        )
        yield ChatGenerationChunk(message=last)

    def _pieces(self, messages: Sequence[BaseMessage]) -> tuple[list[str], str]:
        """The answer's pieces, a sentence each, and stop or length."""
        question, sources = _read(messages)
        best = extracts.of(question, sources)
        if not best:
            return [MARKER, NOTHING_FOUND], "stop"
        left = self.output_tokens * _BYTES_A_TOKEN - len(MARKER)
        chosen = []
        for sentence in best:
            size = len(_cited(sentence).encode()) + 1
            if size <= left:
                chosen.append(sentence)
                left -= size
        if not chosen:
            return [MARKER, best[0].text.encode()[: max(0, left)].decode(errors="ignore")], "length"
        chosen.sort(key=lambda sentence: sentence.position)
        spaced = [f"{' ' if at else ''}{_cited(one)}" for at, one in enumerate(chosen)]
        return [MARKER, *spaced], "stop"

    def _told(self, finish_reason: str) -> dict[str, Any]:
        return {"offline": True, "finish_reason": finish_reason, "model_name": self.model}


def _read(messages: Sequence[BaseMessage]) -> tuple[str, list[tuple[str, str]]]:
    """The question, and the sources with their ids."""
    asked = next((str(one.text) for one in reversed(messages) if isinstance(one, HumanMessage)), "")
    sources = [found for one in messages for found in _SOURCE.findall(str(one.text))]
    if sources:
        return _SOURCE.sub(" ", asked), sources
    split = sentences.split(asked)
    questions = [sentence for sentence in split if sentence.endswith("?")]
    rest = [sentence for sentence in split if not sentence.endswith("?")]
    return " ".join(questions), [("", "\n\n".join(rest))]


def _cited(sentence: Sentence) -> str:
    return f"{sentence.text} [{sentence.source_id}]" if sentence.source_id else sentence.text


def build(
    candidate: Candidate,
    key: str | None,  # noqa: ARG001
    *,
    output_tokens: int,
    seconds: float,  # noqa: ARG001
) -> BaseChatModel:
    """The extractive model; see ai.providers.building."""
    return ExtractiveChatModel(model=candidate.model, output_tokens=output_tokens)
