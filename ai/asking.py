"""One attempt: a candidate is asked once, within its time and under its meter."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration

from ai import endings
from ai.breaker import Outcome, Ticket
from ai.calls import Attempt
from ai.failures import BrokenOffError, Failure, WithheldError, classify
from ai.sizes import usage_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ai.routing import Route

# No silence within a stream may last longer than this share of the feature's time budget.
SILENCE = 0.5
# A call that was overdue before its breaker opened learns of it so soon.
_LOOK_SECONDS = 0.25
# Faults of the request: they say that the endpoint is well.
_OURS = frozenset({"bad_request", "content_filtered", "context_too_long"})
# Refused for now: strained, but not down.
_STRAINED = frozenset({"rate_limited"})

Ended = Literal["answered", "failed", "unclear"]
Pieces = AsyncGenerator[ChatGeneration, None]

# An event loop alone does not keep a task from being collected.
_background: set[asyncio.Task[None]] = set()


class AttemptError(Exception):
    """An attempt that failed, and has been settled.

    Raised outside the handler of the provider's error, which may repeat the question and the key:
    tracebacks and whoever collects errors follow __context__.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Asking:
    """seconds: until the first piece that holds anything."""

    def __init__(self, route: "Route", name: str, ticket: Ticket, seconds: float) -> None:
        self._route, self._name, self._ticket, self._seconds = route, name, ticket, seconds
        self._candidate = route.pool.candidate(name)
        self._usage: UsageMetadata | None = None
        self._overdue = self._whole = False
        self.begun = False

    async def pieces(self) -> Pieces:
        """The answer's pieces; the first one holds something, so that what breaks before it can
        be asked elsewhere.

        Raises AttemptError; BudgetExceededError before anything was asked.
        """
        # What the caller is in the middle of handling is at the end of each error's chain.
        outside = sys.exception()
        reservation = await self._admit()
        self._route.attempts += 1
        began = time.monotonic()
        outcome: Outcome | None = None
        ended: Ended = "unclear"
        said = "cancelled"
        failure: Failure | None = None
        try:
            try:
                model = await self._route.pool.model(self._name, self._route.feature.output_tokens)
                # To import a library takes seconds, once, which are none of the provider's.
                self._route.paused += time.monotonic() - began
                began = time.monotonic()
                async with aclosing(self._answer(model)) as answer:
                    async for piece in answer:
                        self.begun = True
                        yield piece
                        outside = sys.exception()
                outcome, ended, said = "good", "answered", ""
            except Exception as error:
                failure = classify(error, outside)
            if failure is not None:
                outcome, ended = self._judge(failure), "unclear" if failure.billed else "failed"
                said = failure.kind
                raise AttemptError(failure)
        finally:
            seconds = time.monotonic() - began
            answered = ended == "answered"
            self._leave(outcome, seconds if answered else None)
            settling = self._route.meter.settle(reservation, self._attempt(ended, seconds, said))
            await _carried_through(settling)

    async def _answer(self, model: "BaseChatModel") -> Pieces:
        async with aclosing(self._route.ask(model)) as given:
            async with asyncio.timeout(self._seconds) as limit:
                held = await self._until_something(given, limit)
            for piece in held:
                yield piece
            while True:
                silence = min(SILENCE * self._route.feature.seconds, self._route.left)
                async with asyncio.timeout(silence):
                    try:
                        piece = await anext(given)
                    except StopAsyncIteration:
                        break
                yield self._taken(piece)
        if not self._whole:
            raise BrokenOffError

    async def _until_something(self, given: Pieces, limit: asyncio.Timeout) -> list[ChatGeneration]:
        """The pieces up to the first that holds anything. Left early when the call is overdue
        together with so many others that the breaker opens.

        Raises BrokenOffError: none holds anything, and none says that this is the whole answer.
        """
        watch = self._look_when_overdue(limit)
        held = []
        try:
            async for piece in given:
                held.append(self._taken(piece))
                if _holds_something(piece.message):
                    return held
        finally:
            watch.cancel()
        if not self._whole:
            raise BrokenOffError
        return held

    def _look_when_overdue(self, limit: asyncio.Timeout) -> "_Watch":
        pool, name = self._route.pool, self._name

        def look() -> float | None:
            left = pool.is_left(name) if self._overdue else pool.overdue(name, self._ticket)
            self._overdue = True
            if left and not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
            return None if left else _LOOK_SECONDS

        patience = pool.patience(name) if self._route.others(name) else None
        return _Watch(look, patience)

    def _taken(self, piece: ChatGeneration) -> ChatGeneration:
        message = piece.message
        if isinstance(message, AIMessage) and message.usage_metadata is not None:
            self._usage = add_usage(self._usage, message.usage_metadata)
        in_one = not isinstance(message, AIMessageChunk) and _holds_something(message)
        ending = endings.ending(message)
        self._whole |= ending is not None or in_one
        if ending == "withheld":
            raise WithheldError
        return piece

    def _judge(self, failure: Failure) -> Outcome | None:
        """What a failure says of the endpoint."""
        if failure.kind in _OURS:
            return "good"
        if failure.kind in _STRAINED:
            return "strained"
        if failure.kind == "timed_out":
            # Noted already when it was overdue; or cut sooner than this candidate usually takes.
            patience = self._route.pool.patience(self._name)
            if self._overdue or (patience is not None and self._seconds < patience):
                return None
        return "failed"

    def _leave(self, outcome: Outcome | None, seconds: float | None) -> None:
        self._route.pool.leave(self._name, self._ticket, outcome, seconds)

    def _attempt(self, ended: Ended, seconds: float, error: str) -> Attempt:
        return Attempt(
            candidate=self._name,
            provider=self._candidate.provider,
            model=self._candidate.model,
            outcome=ended,
            # Of half a stream a provider may have told the input alone.
            usage=usage_of(self._usage) if self._whole and self._usage else None,
            seconds=seconds,
            error=error,
        )

    async def _admit(self) -> str:
        """Have the most that the attempt can take set aside. What is set aside for a call that
        has stopped waiting is given back."""
        meter, candidate = self._route.meter, self._candidate
        admission = asyncio.ensure_future(
            meter.admit(self._name, candidate.provider, candidate.model, self._route.most)
        )
        try:
            async with asyncio.timeout(self._route.left):
                return await asyncio.shield(admission)
        except BaseException as error:
            self._leave(None, None)
            if admission.done():
                await _carried_through(self._give_back(admission))
            else:
                _in_background(self._give_back(admission))
            if not isinstance(error, TimeoutError):
                raise
        raise AttemptError(classify(TimeoutError()))

    async def _give_back(self, admission: asyncio.Future[str]) -> None:
        await asyncio.wait((admission,))
        if not admission.cancelled() and admission.exception() is None:
            unasked = self._attempt("failed", 0.0, "cancelled")
            await self._route.meter.settle(admission.result(), unasked)


class _Watch:
    """Looks after so many seconds, None for never, and again when the look says so."""

    def __init__(self, look: Callable[[], float | None], seconds: float | None) -> None:
        self._look, self._loop = look, asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None
        self._set(seconds)

    def cancel(self) -> None:
        self._set(None)

    def _set(self, seconds: float | None) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = None if seconds is None else self._loop.call_later(seconds, self._go)

    def _go(self) -> None:
        self._set(self._look())


def _holds_something(message: Any) -> bool:
    return bool(message.content or getattr(message, "tool_call_chunks", message.tool_calls))


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)


async def _carried_through(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end, also when whoever waits for it is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
