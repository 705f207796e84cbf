"""One answer made: a marker set, a model asked, what came back checked, its shape repaired once."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_chunk_to_message,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ValidationError

from ai.calls import NOTHING, Answer, Call, Usage
from ai.candidates import Pool
from ai.cleaning import Cleaner
from ai.errors import RefusedOutputError, WrongShapeError
from ai.guards import outputs
from ai.guards.outputs import Violation
from ai.guards.placeholders import Vault
from ai.threads import Threads

# As OpenAI, Anthropic and Gemini call an answer that its model ended by itself.
_WHOLE = {"stop", "end_turn", "stop_sequence", "tool_calls", "tool_use"}

# A link or a name that is not to be shown is shorter; the whole text is checked at the end.
_TAIL = 400

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

    message: the model's own. fallback: it is the feature's stated answer, and no model's. lasting:
        it may serve again: a model gave it, and ended it by itself.
    """

    answer: Answer
    message: AIMessage
    fallback: bool

    @property
    def lasting(self) -> bool:
        return not self.fallback and self.answer.finish_reason.lower() in _WHOLE


class Maker:
    """Makes the answers of one call.

    model: the routed one, with tools bound to it or not. canary: a token that no answer may hold.
    foreign: ids and names of other tenants.
    """

    def __init__(
        self,
        call: Call,
        sent: Sent,
        model: Runnable[Any, AIMessage],
        pool: Pool,
        threads: Threads,
        *,
        canary: str,
        foreign: frozenset[str],
    ) -> None:
        self._call, self._sent, self._model = call, sent, model
        self._pool, self._threads = pool, threads
        self._canary, self._foreign = canary, foreign
        self._sources = [*sent.cleaner.sources, *sent.trusted]

    async def make(self) -> Made:
        """Ask, check and, if it has the wrong shape, ask once more.

        Raises NoAnswerError, BudgetExceededError, RefusedOutputError, WrongShapeError.
        """
        messages = self._marked()
        made = await self._ask(messages)
        if self._sent.shape is None or made.message.tool_calls:
            return made
        try:
            shaped(made.answer, self._sent)
        except WrongShapeError as error:
            # The extractive model makes no JSON, however often it is asked.
            if made.answer.offline:
                raise
            said = AIMessage(made.answer.text)
            repair = HumanMessage(_REPAIR.format(reason=error.reason))
            made = await self._ask([*messages, said, repair])
            shaped(made.answer, self._sent)
        return made

    async def stream(self) -> AsyncIterator[str | Made]:
        """The text in whole words as they come, restored and checked, then the whole answer.

        Raises as make does, also after some words: then those are to be taken back.
        """
        restorer = self._sent.cleaner.vault.stream()
        whole: Any = None
        said = held = ""
        async for chunk in self._model.astream(self._marked()):
            whole = chunk if whole is None else whole + chunk
            ready, held = _at_space(held + chunk.text)
            said += ready
            self._raise_for(self._found(_tail(said)))
            if piece := restorer.feed(ready):
                yield piece
        assert whole is not None
        made = _made(message_chunk_to_message(whole))
        await self._check(said + held, made)
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
        made = _made(await self._model.ainvoke(messages))
        arguments = [json.dumps(call["args"]) for call in made.message.tool_calls]
        await self._check("\n".join([made.answer.text, *arguments]), made)
        return made

    async def _check(self, text: str, made: Made) -> None:
        """Raises RefusedOutputError: the whole answer may not be shown."""
        found = self._found(text)
        if not made.fallback:
            well = not found and (self._sent.shape is None or _is_shaped(made.answer, self._sent))
            note = self._pool.note_quality
            await self._threads.run(note, made.answer.candidate, well, self._call.tenant_id)
        self._raise_for(found)

    def _found(self, text: str) -> list[Violation]:
        restored = self._sent.cleaner.vault.restore(text)
        return outputs.check(
            restored,
            sources=self._sources,
            canary=self._canary,
            foreign=self._foreign,
        )

    @staticmethod
    def _raise_for(found: Sequence[Violation]) -> None:
        if found:
            kinds = ", ".join(sorted({one.kind for one in found}))
            raise RefusedOutputError(
                f"The answer is not shown, for it failed these checks: {kinds}. Look at what the"
                " sources hold, and ask again."
            )


def shaped(answer: Answer, sent: Sent) -> BaseModel:
    """The answer as its shape has it, with originals in place of placeholders.

    Raises WrongShapeError, whose reason names fields and what is wrong with them, no contents.
    """
    assert sent.shape is not None
    begin, end = answer.text.find("{"), answer.text.rfind("}")
    try:
        found = json.loads(answer.text[begin : end + 1]) if end > begin else None
    except json.JSONDecodeError as error:
        raise WrongShapeError(sent.shape.__name__, f"no JSON at character {error.pos}") from None
    if not isinstance(found, dict):
        raise WrongShapeError(sent.shape.__name__, "no JSON object")
    try:
        return sent.shape.model_validate(_each_text(found, sent.cleaner.vault.restore))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['type']}"
            for one in error.errors(include_input=False, include_context=False)
        )
        raise WrongShapeError(sent.shape.__name__, faults) from None


def _is_shaped(answer: Answer, sent: Sent) -> bool:
    try:
        shaped(answer, sent)
    except WrongShapeError:
        return False
    return True


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(one, change) for one in value]
    if isinstance(value, dict):
        return {name: _each_text(one, change) for name, one in value.items()}
    return value


def redacted(message: AIMessage, text: str, cleaner: Cleaner) -> AIMessage:
    """A message that was given out, as it may be sent again: placeholders for originals."""
    calls = [
        {**call, "args": _each_text(call["args"], partial(cleaner, "trusted"))}
        for call in message.tool_calls
    ]
    return AIMessage(cleaner("trusted", text), tool_calls=calls)


def put_back(message: AIMessage, vault: Vault) -> AIMessage:
    """The message with originals in place of placeholders, also in what it calls tools with."""
    calls = [
        {**call, "args": _each_text(call["args"], vault.restore)} for call in message.tool_calls
    ]
    return message.model_copy(update={"content": vault.restore(message.text), "tool_calls": calls})


def _made(message: BaseMessage) -> Made:
    """The answer in a message of the routed model, which says in its metadata who gave it."""
    assert isinstance(message, AIMessage)
    said = message.response_metadata
    by = said["galena"]
    used = message.usage_metadata
    answer = Answer(
        text=message.text,
        provider=by["provider"],
        model=by["model"],
        finish_reason=str(said.get("finish_reason") or said.get("stop_reason") or ""),
        usage=NOTHING if used is None else _usage(used),
        offline=by["offline"],
        candidate=by["candidate"],
    )
    return Made(answer, message, fallback=by["fallback"])


def _usage(used: UsageMetadata) -> Usage:
    cached = used.get("input_token_details", {}).get("cache_read", 0)
    return Usage(used["input_tokens"], used["output_tokens"], cached)


def _tail(text: str) -> str:
    """The last words of the text, from a space on."""
    return text if len(text) <= _TAIL else text[-_TAIL:].partition(" ")[2]


def _at_space(text: str) -> tuple[str, str]:
    """The text up to its last space, and the word that may go on."""
    cut = max(text.rfind(" "), text.rfind("\n")) + 1
    return text[:cut], text[cut:]
