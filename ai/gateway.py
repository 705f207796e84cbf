"""The one path of a call: cleaned, looked up, routed, checked, put back, stored, given out."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

from ai import cache, prompt, telemetry, trimming
from ai.calls import Answer, Call
from ai.candidates import Pool
from ai.cleaning import Cleaner
from ai.configuration import OFFLINE, Configuration
from ai.errors import BudgetExceededError, RefusedInputError, RefusedOutputError, WrongShapeError
from ai.guards import canary
from ai.guards.injection import Detector
from ai.making import Made, Maker, Sent, put_back, shaped
from ai.metering import CallMeter
from ai.prompt import Source
from ai.redactors import Redactors
from ai.routed_model import RoutedChatModel
from ai.shelf import Place, Shelf, Tier
from ai.stores import Answers, Ledger, Names
from ai.threads import Threads

Shape = TypeVar("Shape", bound=BaseModel)
Values = Mapping[str, str | Sequence[Source]]


@dataclass(frozen=True)
class Given:
    """What is given out.

    text: with originals in place of placeholders. answer: as it was made. tier: where it was found,
    None when it was made for this call. fallback: it is the feature's stated answer, and no
    model's. withheld: how many sentences of the sources looked like instructions and were not sent.
    """

    text: str
    answer: Answer
    tier: Tier | None
    fallback: bool
    withheld: int


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
            found = shaped(given.answer, sent)
            assert isinstance(found, shape)
            return found, given

    async def stream(self, call: Call, values: Values) -> AsyncIterator[str]:
        """As `ask`, in whole words as they come. After an error what came is to be taken back."""
        call = _with_version(call)
        async with self._metered(call) as meter:
            sent = await self._rendered(call, values, None)
            async with self._place(call, sent) as place:
                if place.found is not None:
                    yield (await self._served(place.found, sent, place.tier, meter)).text
                    return
                async for piece in (await self._maker(call, sent, meter)).stream():
                    if isinstance(piece, str):
                        yield piece
                    else:
                        await self._put(piece, sent, place, meter)

    async def converse(
        self, call: Call, sent: Sent, tools: Sequence[Any], **kwargs: Any
    ) -> AIMessage:
        """The next message of a conversation. With tools it may call them, and is made anew each
        time. kwargs: as bind_tools of LangChain's chat models takes them."""
        async with self._metered(call) as meter:
            if not tools:
                return _message(await self._give(call, sent, meter))
            made = await (await self._maker(call, sent, meter, tools, **kwargs)).make()
            await self._put(made, sent, Place(), meter)
            return put_back(made.message, sent.cleaner.vault)

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
        texts = found.render(trimming.trimmed(values, self.room(call)), cleaner, shape)
        return Sent(
            messages=(SystemMessage(texts.system), HumanMessage(texts.user)),
            cleaner=cleaner,
            trusted=(found.system, found.user),
            free=texts.free,
            rest=texts.rest,
            shape=shape,
        )

    async def _give(self, call: Call, sent: Sent, meter: CallMeter) -> Given:
        async with self._place(call, sent) as place:
            if place.found is not None:
                return await self._served(place.found, sent, place.tier, meter)
            made = await (await self._maker(call, sent, meter)).make()
            await self._put(made, sent, place, meter)
            return _given(made.answer, sent, None, fallback=made.fallback)

    def _place(self, call: Call, sent: Sent) -> AbstractAsyncContextManager[Place]:
        """Where the answer may be; of what costs nothing nothing is kept."""
        feature = self.configuration.feature(call.feature)
        candidates = [self._pool.candidate(name) for name in feature.candidates]
        if not feature.cache_seconds or all(one.provider == OFFLINE for one in candidates):
            return nullcontext(Place())
        texts = [(message.type, message.text) for message in sent.messages]
        key = cache.key(call, self.configuration, texts, sent.free, sent.rest)
        return self._shelf.place(call.tenant_id, key, sent.free, feature)

    async def _served(
        self, found: Answer, sent: Sent, tier: Tier | None, meter: CallMeter
    ) -> Given:
        await meter.note_hit(found, tier or "")
        return _given(found, sent, tier, fallback=False)

    async def _put(self, made: Made, sent: Sent, place: Place, meter: CallMeter) -> None:
        place.made, place.lasting = made.answer, made.lasting and not made.answer.offline
        for guard, number in sent.cleaner.found.items():
            meter.observed.found(guard, number)
        meter.observed.show("\n".join(one.text for one in sent.messages), made.answer.text)
        if made.fallback:
            await meter.note_unanswered("fallback", "no candidate answered")

    async def _maker(
        self, call: Call, sent: Sent, meter: CallMeter, tools: Sequence[Any] = (), **kwargs: Any
    ) -> Maker:
        foreign = await self._threads.run(self._names.of_other_tenants, call.tenant_id)
        routed = RoutedChatModel(
            tenant_id=call.tenant_id,
            candidates=self._pool,
            feature=self.configuration.feature(call.feature),
            feature_name=call.feature,
            meter=meter,
            rng=self._rng,
        )
        return Maker(
            call,
            sent,
            routed.bind_tools(tools, **kwargs) if tools else routed,
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
                deadline=self._clock() + timedelta(seconds=seconds),
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


def _given(answer: Answer, sent: Sent, tier: Tier | None, *, fallback: bool) -> Given:
    text = sent.cleaner.vault.restore(answer.text)
    return Given(text, answer, tier, fallback, sent.cleaner.findings)


def _message(given: Given) -> AIMessage:
    answer = given.answer
    return AIMessage(
        given.text,
        response_metadata={
            "finish_reason": answer.finish_reason,
            "model_name": answer.model,
            "galena": {
                "candidate": answer.candidate,
                "provider": answer.provider,
                "model": answer.model,
                "offline": answer.offline,
                "fallback": given.fallback,
                "cached": given.tier or "",
            },
        },
        usage_metadata=None
        if given.tier
        else {
            "input_tokens": answer.usage.input_tokens,
            "output_tokens": answer.usage.output_tokens,
            "total_tokens": answer.usage.input_tokens + answer.usage.output_tokens,
        },
    )
