"""The one path of a call: cleaned, looked up, routed, checked, put back, stored, given out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from random import Random
from typing import Any, ParamSpec, TypeVar

from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
)
from pydantic import BaseModel

from ai import cache, prompt, telemetry, trimming
from ai.calls import Call
from ai.candidates import Pool
from ai.cleaning import Cleaner
from ai.configuration import OFFLINE, Configuration
from ai.errors import BudgetExceededError, RefusedInputError, RefusedOutputError, WrongShapeError
from ai.giving import Given, given_of, keyed, message_of
from ai.guards import canary
from ai.guards.injection import Detector
from ai.making import Made, Maker, Sent
from ai.metering import CallMeter
from ai.prompt import Source
from ai.redactors import Redactors
from ai.routed_model import RoutedChatModel
from ai.shaping import Shape, each_text, shaped
from ai.shelf import Place, Shelf
from ai.stores import Answers, Ledger, Names
from ai.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")
Values = Mapping[str, str | Sequence[Source]]


_CANARY_BYTES = 16
# Its own words, the shape asked for, and what a provider adds.
_OF_THE_PROMPT = 2_000


_GUARDS = {RefusedInputError: "input", RefusedOutputError: "output", WrongShapeError: "shape"}


class Gateway:
    """Every call of this process to a language model.

    clock: aware times. rng: for jitter, and for markers that nobody can foresee.
    """

    def __init__(
        self,
        configuration: Configuration,
        pool: Pool,
        *,
        answers: Answers,
        ledger: Ledger,
        names: Names,
        detector: Detector,
        clock: Callable[[], datetime],
        rng: Random,
    ) -> None:
        self.configuration = configuration
        self._pool, self._ledger, self._names, self._detector = pool, ledger, names, detector
        self._clock, self._rng = clock, rng
        self._threads = Threads()
        self._shelf = Shelf(answers, self._threads, clock)
        self._redactors = Redactors(names)

    def close(self) -> None:
        """Wait for what is being stored."""
        self._threads.close()

    async def ask(self, call: Call, values: Values) -> Given:
        """The answer to the prompt that the call names, with these values.

        The prompt's version is that of its file, whatever the call says. Raises KeyError: there is
        no such prompt. Raises ValueError: a value is missing. Raises LanguageModelError of whatever
        kind: there is no answer that may be shown.
        """
        call = _with_version(call)
        async with self._metered(call) as meter:
            sent = await self._rendered(call, values, None)
            return await self._give(call, sent, meter)

    async def ask_for(self, shape: type[Shape], call: Call, values: Values) -> tuple[Shape, Given]:
        """As `ask`, for an answer of a shape; one that does not have it is asked for once more.

        Raises WrongShapeError, beside what `ask` raises; the offline model makes no shapes.
        """
        call = _with_version(call)
        async with self._metered(call) as meter:
            sent = await self._rendered(call, values, shape)
            given = await self._give(call, sent, meter)
            return shaped(given.answer.text, shape, sent.cleaner.vault), given

    async def stream(self, call: Call, values: Values) -> AsyncGenerator[str | Given, None]:
        """As `ask`, in whole words as they come, and then the whole.

        After an error what came is to be taken back. Who stops reading closes it (`aclose`): when
        that returns, what was asked for has ended and is counted.
        """
        # In a task of its own, so that a reader who dawdles holds up nobody who waits for the same.
        pieces: asyncio.Queue[str | Given | None] = asyncio.Queue()
        filling = asyncio.create_task(self._fill(pieces, _with_version(call), values))
        filling.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await filling
        finally:
            filling.cancel()
            await asyncio.wait([filling])

    async def _fill(
        self, pieces: "asyncio.Queue[str | Given | None]", call: Call, values: Values
    ) -> None:
        async with self._metered(call) as meter:
            sent = await self._rendered(call, values, None)
            async with self._place(call, sent, meter) as place:
                if place.found is not None:
                    given = await self._served(place, sent, meter)
                    pieces.put_nowait(given.text)
                    pieces.put_nowait(given)
                    return
                maker = await self._maker(call, sent, meter)
                async with aclosing(maker.stream()) as stream:
                    async for piece in stream:
                        if isinstance(piece, Made):
                            await self._put(piece, sent, place, meter)
                            pieces.put_nowait(given_of(piece.answer, sent, None))
                        else:
                            pieces.put_nowait(piece)

    async def converse(self, call: Call, sent: Sent, options: dict[str, Any]) -> AIMessage:
        """The next message of a conversation. With options, which are those of bind_tools of
        LangChain's chat models, it may call tools, and is made anew each time."""
        async with self._metered(call) as meter:
            if not options:
                given = await self._give(call, sent, meter)
                return message_of(given, [])
            made = await (await self._maker(call, sent, meter, options)).make()
            await self._put(made, sent, Place(), meter)
            restore = sent.cleaner.vault.restore
            calls = [
                {**one, "args": each_text(one["args"], restore)} for one in made.message.tool_calls
            ]
            return message_of(given_of(made.answer, sent, None), calls)

    def in_thread(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]:
        """What the function returns, run where it holds up no other call."""
        return self._threads.run(function, *args, **kwargs)

    async def cleaner(self, call: Call) -> Cleaner:
        """What makes the texts of one call fit to be sent."""
        redactor = await self._threads.run(self._redactors.of, call.tenant_id)
        feature = self.configuration.feature(call.feature)
        return Cleaner(self._detector, redactor, refuse=feature.at_injection == "refuse")

    def room(self, call: Call) -> int:
        """About how many tokens a prompt may have, for the candidate that takes the most."""
        feature = self.configuration.feature(call.feature)
        contexts = [self._pool.candidate(name).context_tokens for name in feature.candidates]
        return max(max(contexts) - feature.output_tokens - _OF_THE_PROMPT, 0)

    async def _rendered(self, call: Call, values: Values, shape: type[BaseModel] | None) -> Sent:
        found = prompt.load(call.prompt)
        cleaner = await self.cleaner(call)
        trimmed = trimming.trimmed(values, self.room(call))
        # In a thread: a long mail of one tenant's must not hold up the calls of all.
        texts = await self._threads.run(found.render, trimmed, cleaner, shape)
        return Sent(
            messages=(SystemMessage(texts.system), HumanMessage(texts.user)),
            cleaner=cleaner,
            trusted=(found.system, found.user),
            free=texts.free,
            rest=texts.rest,
            shape=shape,
        )

    async def _give(self, call: Call, sent: Sent, meter: CallMeter) -> Given:
        async with self._place(call, sent, meter) as place:
            if place.found is not None:
                return await self._served(place, sent, meter)
            made = await (await self._maker(call, sent, meter)).make()
            await self._put(made, sent, place, meter)
            return given_of(made.answer, sent, None)

    def _place(
        self, call: Call, sent: Sent, meter: CallMeter
    ) -> AbstractAsyncContextManager[Place]:
        """Where the answer may be; of what costs nothing nothing is kept."""
        feature = self.configuration.feature(call.feature)
        candidates = [self._pool.candidate(name) for name in feature.candidates]
        if not feature.cache_seconds or all(one.provider == OFFLINE for one in candidates):
            return nullcontext(Place())
        messages = [keyed(message) for message in sent.messages]
        key = cache.key(call, self.configuration, messages, sent.free, sent.rest)
        return self._shelf.place(call.tenant_id, key, sent.free, feature, meter.left)

    async def _served(self, place: Place, sent: Sent, meter: CallMeter) -> Given:
        found = place.found
        assert found is not None
        if found.fallback:
            await meter.note_unanswered("fallback", "no candidate answered")
        else:
            await meter.note_hit(found, place.tier or "")
        return given_of(found, sent, place.tier)

    async def _put(self, made: Made, sent: Sent, place: Place, meter: CallMeter) -> None:
        place.made, place.lasting = made.answer, made.lasting
        for guard, number in sent.cleaner.found.items():
            meter.observed.found(guard, number)
        meter.observed.show("\n".join(one.text for one in sent.messages), made.answer.text)
        if made.answer.fallback:
            await meter.note_unanswered("fallback", "no candidate answered")

    async def _maker(
        self, call: Call, sent: Sent, meter: CallMeter, options: dict[str, Any] | None = None
    ) -> Maker:
        foreign = await self._threads.run(self._names.of_other_tenants, call.tenant_id)
        feature = self.configuration.feature(call.feature)
        routed = RoutedChatModel(
            tenant_id=call.tenant_id,
            candidates=self._pool,
            # What is left of the time budget after the cache was looked through.
            feature=feature.model_copy(update={"seconds": max(meter.left(), 0.001)}),
            feature_name=call.feature,
            meter=meter,
            rng=self._rng,
        )
        return Maker(
            call,
            sent,
            routed,
            options or {},
            self._pool,
            self._threads,
            canary=canary.make(self._rng.randbytes(_CANARY_BYTES)),
            foreign=_as_set(tuple(foreign)),
        )

    @asynccontextmanager
    async def _metered(self, call: Call) -> AsyncIterator[CallMeter]:
        """The call's meter; what no model answered is counted, too, with the reason."""
        seconds = self.configuration.feature(call.feature).seconds
        with telemetry.call(call) as observed:
            meter = CallMeter(
                call,
                self.configuration,
                self._ledger,
                self._threads,
                observed,
                clock=self._clock,
                seconds=seconds,
                rng=self._rng,
            )
            try:
                yield meter
            except BudgetExceededError as error:
                await meter.note_unanswered("refused", str(error))
                raise
            except (RefusedInputError, RefusedOutputError, WrongShapeError) as error:
                observed.found(_GUARDS[type(error)])
                await meter.note_unanswered("blocked", str(error))
                raise


def _with_version(call: Call) -> Call:
    return replace(call, prompt_version=prompt.load(call.prompt).version)


@lru_cache(maxsize=8)
def _as_set(names: tuple[str, ...]) -> frozenset[str]:
    """One and the same set for the same names: the index that is made of it is kept with it."""
    return frozenset(names)
