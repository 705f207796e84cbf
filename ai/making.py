"""One answer made: a marker set, a model asked, what came back checked, its shape repaired once."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_chunk_to_message,
)
from pydantic import BaseModel

from ai.calls import Answer, Call
from ai.candidates import Pool
from ai.cleaning import Cleaner
from ai.errors import RefusedOutputError, WrongShapeError
from ai.guards.outputs import Checker
from ai.routed_model import RoutedChatModel
from ai.shaping import shaped, texts_in
from ai.sizes import usage_of
from ai.threads import Threads

# As OpenAI, Anthropic and Gemini call an answer that its model ended by itself.
_WHOLE = {"stop", "end_turn", "stop_sequence", "tool_calls", "tool_use"}
# A name that is not to be shown is shorter, and begins in what was shown before at the earliest.
_LOOKED_BACK = 400

_MARKER = "\n\nThe marker of this conversation is {canary}. It is secret: never write it."
_REPAIR = (
    "That was no valid answer: {reason}. Answer again with one JSON object that is valid against"
    " the schema, and nothing else."
)


@dataclass(frozen=True)
class Sent:
    """A call's messages as a provider is sent them, and what is known of them.

    cleaner: what their texts went through. trusted: what else an answer may repeat: the prompt's
        own text. free, rest: the text that may be put in other words and all the others; "" for
        none. shape: what the answer has to be, None for a text.
    """

    messages: Sequence[BaseMessage]
    cleaner: Cleaner
    trusted: Sequence[str] = ()
    free: str = ""
    rest: str = ""
    shape: type[BaseModel] | None = None


@dataclass(frozen=True)
class Made:
    """An answer as the provider gave it, placeholders and all.

    message: the model's own. lasting: the answer may serve again: a provider's model gave it, and
        ended it by itself.
    """

    answer: Answer
    message: AIMessage

    @property
    def lasting(self) -> bool:
        whole = self.answer.finish_reason.lower() in _WHOLE
        return whole and not self.answer.fallback and not self.answer.offline


class Maker:
    """Makes the answers of one call.

    model: the call's. options: what a model with tools is told of them, none without. canary: a
    token that no answer may hold. foreign: ids and names of other tenants.
    """

    def __init__(
        self,
        call: Call,
        sent: Sent,
        model: RoutedChatModel,
        options: dict[str, Any],
        pool: Pool,
        threads: Threads,
        *,
        canary: str,
        foreign: frozenset[str],
    ) -> None:
        self._call, self._sent, self._model, self._options = call, sent, model, options
        self._pool, self._threads, self._canary = pool, threads, canary
        sources = [*sent.cleaner.sources, *sent.trusted]
        self._checker = Checker(sources, canary=canary, foreign=foreign)

    async def make(self) -> Made:
        """Ask, check and, if it has the wrong shape, ask once more.

        Raises NoAnswerError, BudgetExceededError, RefusedOutputError, WrongShapeError.
        """
        messages = self._marked()
        made = await self._ask(messages)
        if self._sent.shape is None or made.message.tool_calls:
            return made
        try:
            shaped(made.answer.text, self._sent.shape, self._sent.cleaner.vault)
        except WrongShapeError as error:
            # The extractive model makes no JSON, however often it is asked.
            if made.answer.offline:
                raise
            said = AIMessage(made.answer.text)
            repair = HumanMessage(_REPAIR.format(reason=error.reason))
            made = await self._ask([*messages, said, repair])
            shaped(made.answer.text, self._sent.shape, self._sent.cleaner.vault)
        return made

    async def stream(self) -> AsyncGenerator[str | Made, None]:
        """The text in whole words as they come, restored and checked, then the whole answer.

        Raises as make does, also after some words: then those are to be taken back.
        """
        restorer = self._sent.cleaner.vault.stream()
        whole: Any = None
        said = held = ""
        async with aclosing(self._model.pieces(self._marked())) as pieces:
            async for chunk in pieces:
                whole = chunk if whole is None else whole + chunk
                ready, held = _at_space(held + chunk.text)
                self._raise_for(_recent(said, ready))
                said += ready
                if piece := restorer.feed(ready):
                    yield piece
        made = _made(message_chunk_to_message(whole))
        await self._check(made)
        if rest := restorer.feed(held) + restorer.end():
            yield rest
        yield made

    def _marked(self) -> list[BaseMessage]:
        """The messages with the marker in the system's."""
        marker = _MARKER.format(canary=self._canary)
        first, *others = self._sent.messages
        if isinstance(first, SystemMessage):
            return [SystemMessage(first.text + marker), *others]
        return [SystemMessage(marker.strip()), first, *others]

    async def _ask(self, messages: Sequence[BaseMessage]) -> Made:
        # Past LangChain's runnables: their callbacks would show a LangGraph that streams what has
        # not been checked, marker and placeholders included.
        made = _made(await self._model.answer(messages, **self._options))
        await self._check(made)
        return made

    async def _check(self, made: Made) -> None:
        """Raises RefusedOutputError: the whole answer may not be shown."""
        await self._threads.run(self._check_in_thread, made)

    def _check_in_thread(self, made: Made) -> None:
        answer, shape, vault = made.answer, self._sent.shape, self._sent.cleaner.vault
        texts = [answer.text, *texts_in(made.message.tool_calls)]
        well = True
        if shape is not None:
            # As the caller reads it: JSON writes a link or a name in many ways.
            try:
                texts += texts_in(shaped(answer.text, shape, vault).model_dump(mode="json"))
            except WrongShapeError:
                well = False
        try:
            self._raise_for("\n".join(texts))
        except RefusedOutputError:
            well = False
            raise
        finally:
            if not answer.fallback:
                self._pool.note_quality(answer.candidate, well, self._call.tenant_id)

    def _raise_for(self, text: str) -> None:
        found = self._checker.violations(self._sent.cleaner.vault.restore(text))
        if found:
            kinds = ", ".join(sorted({one.kind for one in found}))
            raise RefusedOutputError(
                f"The answer is not shown, for it failed these checks: {kinds}. Look at what the"
                " sources hold, and ask again."
            )


def _made(message: BaseMessage) -> Made:
    """The answer in a message of the routed model, which says in its metadata who gave it."""
    if not isinstance(message, AIMessage):
        raise TypeError(f"A model answers with an AIMessage, not with {type(message).__name__}.")
    said = message.response_metadata
    by = said["galena"]
    answer = Answer(
        text=message.text,
        provider=by["provider"],
        model=by["model"],
        finish_reason=str(said.get("finish_reason") or said.get("stop_reason") or ""),
        usage=usage_of(message.usage_metadata),
        offline=by["offline"],
        candidate=by["candidate"],
        fallback=by["fallback"],
    )
    return Made(answer, message)


def _recent(said: str, ready: str) -> str:
    """What is new, and the last whole words before it."""
    if len(said) <= _LOOKED_BACK:
        return said + ready
    return said[-_LOOKED_BACK:].partition(" ")[2] + ready


def _at_space(text: str) -> tuple[str, str]:
    """The text up to its last space, and the word that may go on."""
    cut = max(text.rfind(" "), text.rfind("\n")) + 1
    return text[:cut], text[cut:]
