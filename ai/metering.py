"""The meter of one call: what its attempts may take is set aside, and what they took is counted."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Literal

from ai import prices
from ai.calls import NOTHING, Answer, Attempt, Call, Usage
from ai.configuration import Configuration
from ai.errors import BudgetExceededError, UnknownPriceError
from ai.stores import Entry, Ledger, Outcome, Reserved
from ai.telemetry import Observed
from ai.threads import Threads

# Between looks for room while others' calls may yet leave some; jittered, for those who wait came
# at once.
_WAITS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.25)
# A server that restarts is back by then.
_SETTLE_AGAIN = (0.1, 0.5, 1.5)
# A provider is given up at the end of the time budget; what comes later than this never does.
_GRACE = timedelta(seconds=60)


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Admitted:
    reservation_id: str
    most: Usage


class CallMeter:
    """Implements ai.stores.Meter for one call.

    observed: told what the ledger is. seconds: the time budget of the call, which begins now.
    """

    def __init__(
        self,
        call: Call,
        configuration: Configuration,
        ledger: Ledger,
        threads: Threads,
        observed: Observed,
        *,
        clock: Callable[[], datetime],
        seconds: float,
        rng: Random,
    ) -> None:
        self._call, self._configuration, self._ledger = call, configuration, ledger
        self.observed = observed
        self._threads, self._clock, self._rng = threads, clock, rng
        self._ends = time.monotonic() + seconds
        self._began = clock()
        self._admitted: dict[str, _Admitted] = {}
        self._numbers = itertools.count(1)

    def left(self) -> float:
        """Seconds of the time budget; 0 when it is over."""
        return max(self._ends - time.monotonic(), 0.0)

    async def admit(self, candidate: str, provider: str, model: str, most: Usage) -> str:  # noqa: ARG002
        """Set aside the most that an attempt can take. Waits while others' calls may leave room.

        Raises BudgetExceededError, UnknownPriceError.
        """
        cost = self._price(candidate, most)
        reserved = await self._reserve(most.input_tokens + most.output_tokens, cost)
        ticket = str(next(self._numbers))
        self._admitted[ticket] = _Admitted(reserved.reservation_id, most)
        return ticket

    async def _reserve(self, tokens: int, cost: Decimal | None) -> Reserved:
        waits = itertools.chain(_WAITS, itertools.repeat(_WAITS[-1]))
        while True:
            now = self._clock()
            until = now + timedelta(seconds=self.left()) + _GRACE
            found = await self._threads.run(
                self._ledger.reserve, self._call, tokens=tokens, cost=cost, now=now, until=until
            )
            if isinstance(found, Reserved):
                return found
            if found.why != "waiting" or self.left() <= 0:
                kind = UnknownPriceError if found.why == "unknown price" else BudgetExceededError
                raise kind(found.message, cheaper=found.at_limit == "cheaper")
            await asyncio.sleep(next(waits) * self._rng.uniform(0.5, 1.5))

    async def settle(self, ticket: str, attempt: Attempt) -> None:
        """Count what the attempt took; the most it can have taken, when nobody knows."""
        admitted = self._admitted.pop(ticket)
        guessed = attempt.usage is None and attempt.outcome != "failed"
        usage = admitted.most if guessed else attempt.usage or NOTHING
        entry = Entry(
            at=self._clock(),
            candidate=attempt.candidate,
            provider=attempt.provider,
            model=attempt.model,
            outcome=attempt.outcome,
            usage=usage,
            cost=Decimal(0) if usage == NOTHING else self._price(attempt.candidate, usage),
            seconds=attempt.seconds,
            guessed=guessed,
            error=attempt.error,
        )
        self.observed.note(entry)
        await self._settle(admitted.reservation_id, entry)

    async def _settle(self, reservation_id: str, entry: Entry) -> None:
        """Write the line, again if need be, for it was paid for. What cannot be written counts as
        spent once the reservation lapses, and the answer is given all the same."""
        for wait in (*_SETTLE_AGAIN, None):
            try:
                await self._threads.run(self._ledger.settle, self._call, reservation_id, entry)
            except Exception as error:
                if wait is None:
                    _log.error("A call is not in the ledger: %s", type(error).__name__)
                    return
                await asyncio.sleep(wait)
            else:
                return

    async def note_hit(self, answer: Answer, tier: str) -> None:
        """Count an answer that served again: nothing was spent, and so much was saved. tier: where
        it was found."""
        saved_cost = self._price(answer.candidate, answer.usage)
        await self._note(
            "hit",
            tier,
            candidate=answer.candidate,
            provider=answer.provider,
            model=answer.model,
            saved=answer.usage,
            saved_cost=saved_cost,
        )

    async def note_unanswered(
        self, outcome: Literal["refused", "blocked", "fallback"], error: str
    ) -> None:
        """Count a call that no model answered, or whose answer is not shown, and why."""
        await self._note(outcome, "", candidate="", provider="", model="", error=error)

    async def _note(self, outcome: Outcome, tier: str, **more: Any) -> None:
        now = self._clock()
        entry = Entry(
            at=now,
            outcome=outcome,
            usage=NOTHING,
            cost=Decimal(0),
            seconds=(now - self._began).total_seconds(),
            **more,
        )
        self.observed.note(entry, tier)
        await self._threads.run(self._ledger.settle, self._call, "", entry)

    def _price(self, candidate: str, usage: Usage) -> Decimal | None:
        found = self._configuration.candidates.get(candidate)
        return None if found is None else prices.price(found, usage, at=self._clock())
