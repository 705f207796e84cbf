"""Where the answers to a call are looked for and put: this process, its flights, the store."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from ai import cache
from ai.cache import Flights, Key, Memory
from ai.calls import Answer
from ai.configuration import Feature
from ai.errors import LanguageModelError
from ai.stores import Answers, Kept
from ai.threads import Threads

# What another process is making is looked for this often.
_LOOK_AGAIN_SECONDS = 0.05
# Of the time budget, for others who are making the answer: the rest is enough to make it oneself.
_SHARE = 0.5

Tier = Literal["memory", "flight", "stored", "similar"]

_log = logging.getLogger(__name__)


@dataclass
class Place:
    """The place of one answer.

    found, tier: the answer that was there, and where. made: without one, whoever has the place
        makes it and puts it here, for those who wait. lasting: whether it may serve later, too.
    """

    found: Answer | None = None
    tier: Tier | None = None
    made: Answer | None = None
    lasting: bool = False


class Shelf:
    """The answers of all tenants that this process may serve; keys keep tenants apart."""

    def __init__(self, answers: Answers, threads: Threads, clock: Callable[[], datetime]) -> None:
        self._answers, self._threads, self._clock = answers, threads, clock
        self._memory, self._flights = Memory(), Flights()

    @asynccontextmanager
    async def place(
        self, tenant_id: str, key: Key, free: str, feature: Feature, left: Callable[[], float]
    ) -> AsyncIterator[Place]:
        """The answer's place, with what is there. One caller at a time has an empty one; who has
        waited for half of the time budget has one, too.

        free: the free text, for which an answer to other words may serve; "" for none. left:
        seconds of the caller's time budget.
        """
        while True:
            if (kept := self._memory.find(key.exact, self._clock())) is not None:
                yield Place(kept, "memory")
                return
            flight = self._flights.board(key.exact)
            if flight is None:
                break
            try:
                landed = await _landed(flight, left() - feature.seconds * _SHARE)
            except TimeoutError:
                yield Place()
                return
            if landed is not None:
                yield Place(landed, "flight")
                return
        async with (
            self._flying(key) as place,
            self._claimed(place, tenant_id, key, free, feature, left),
        ):
            yield place

    @asynccontextmanager
    async def _flying(self, key: Key) -> AsyncIterator[Place]:
        place, error = Place(), None
        try:
            yield place
        except LanguageModelError as raised:
            error = raised
            raise
        finally:
            self._flights.land(key.exact, error or place.found or place.made)

    @asynccontextmanager
    async def _claimed(
        self,
        place: Place,
        tenant_id: str,
        key: Key,
        free: str,
        feature: Feature,
        left: Callable[[], float],
    ) -> AsyncIterator[None]:
        """Fill the place with what is stored; left empty, this process has claimed it, or has
        waited long enough for the one that had."""
        claim = secrets.token_hex(8)
        try:
            kept = await self._find_or_claim(tenant_id, key, claim, feature, left)
            if kept is not None:
                place.found, place.tier = kept.answer, "stored"
                self._remember(key, kept.answer, kept.expires_at)
            elif _seeks_similar(key, free, feature):
                place.found = await self._threads.run(self._similar, tenant_id, key, free, feature)
                place.tier = "similar" if place.found else None
            yield
        finally:
            if place.tier != "stored":
                # Not cut off: a caller that is cancelled leaves no claim for others to wait for.
                end = self._threads.run(self._end, place, tenant_id, key, free, feature, claim)
                await asyncio.shield(end)

    async def _find_or_claim(
        self,
        tenant_id: str,
        key: Key,
        claim: str,
        feature: Feature,
        left: Callable[[], float],
    ) -> Kept | None:
        while True:
            now = self._clock()
            asked = self._threads.submit(
                self._answers.find_or_claim,
                tenant_id,
                key.exact,
                claim=claim,
                now=now,
                claim_until=now + timedelta(seconds=max(left(), 0)),
            )
            try:
                found = await asyncio.wrap_future(asked)
            except asyncio.CancelledError:
                # The thread may claim after its caller has gone.
                asked.add_done_callback(partial(self._give_back, tenant_id, key, claim))
                raise
            if isinstance(found, Kept):
                return found
            if found == "claimed" or left() <= feature.seconds * _SHARE:
                return None
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _give_back(self, tenant_id: str, key: Key, claim: str, done: "Future[Any]") -> None:
        if not done.cancelled() and done.exception() is None and done.result() == "claimed":
            self._answers.release(tenant_id, key.exact, claim)

    def _similar(self, tenant_id: str, key: Key, free: str, feature: Feature) -> Answer | None:
        assert feature.similarity is not None
        stored = self._answers.similar(tenant_id, key.group, now=self._clock())
        return cache.best(free, cache.vector(free), stored, feature.similarity) if stored else None

    def _end(
        self, place: Place, tenant_id: str, key: Key, free: str, feature: Feature, claim: str
    ) -> None:
        """Store what was made, or give the claim up. An answer that cannot be kept is still one."""
        try:
            if place.made is not None and place.lasting:
                self._store(place.made, tenant_id, key, free, feature)
            else:
                self._answers.release(tenant_id, key.exact, claim)
        except Exception as error:
            _log.warning("An answer could not be kept: %s", type(error).__name__)

    def _store(self, answer: Answer, tenant_id: str, key: Key, free: str, feature: Feature) -> None:
        now = self._clock()
        expires_at = now + timedelta(seconds=feature.cache_seconds)
        similar = _seeks_similar(key, free, feature)
        self._answers.store(
            tenant_id,
            key.exact,
            answer,
            now=now,
            expires_at=expires_at,
            group=key.group if similar else "",
            text=free if similar else "",
            vector=cache.vector(free) if similar else b"",
        )
        self._remember(key, answer, expires_at)

    def _remember(self, key: Key, answer: Answer, expires_at: datetime) -> None:
        self._memory.keep(key.exact, answer, now=self._clock(), expires_at=expires_at)


async def _landed(flight: "Future[Answer | None]", seconds: float) -> Answer | None:
    """What others land with. Raises TimeoutError, and what they failed with."""
    # Shielded: a waiter that is cancelled must not cancel the flight of all.
    async with asyncio.timeout(max(seconds, 0)):
        return await asyncio.shield(asyncio.wrap_future(flight))


def _seeks_similar(key: Key, free: str, feature: Feature) -> bool:
    return feature.similarity is not None and bool(key.group) and cache.may_be_similar(free)
