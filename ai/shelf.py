"""Where the answers to a call are looked for and put: this process, its flights, the store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ai import cache
from ai.cache import Flights, Key, Memory
from ai.calls import Answer
from ai.configuration import Feature
from ai.errors import LanguageModelError
from ai.stores import Answers
from ai.threads import Threads

# What another process is making is looked for this often; its claim ends with its time budget.
_LOOK_AGAIN_SECONDS = 0.05

Tier = Literal["memory", "flight", "stored", "similar"]


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
        self, tenant_id: str, key: Key, free: str, feature: Feature
    ) -> AsyncIterator[Place]:
        """The answer's place, with what is there; one caller at a time has an empty one.

        free: the free text, for which an answer to other words may serve; "" for none.
        """
        while True:
            if (kept := self._memory.find(key.exact, self._clock())) is not None:
                yield Place(kept, "memory")
                return
            flight = self._flights.board(key.exact)
            if flight is None:
                break
            landed = await asyncio.wrap_future(flight)
            if landed is not None:
                yield Place(landed, "flight")
                return
        async with self._flying(key) as place:
            await self._look_up(place, tenant_id, key, free, feature)
            if place.found is not None:
                yield place
            else:
                async with self._claimed(tenant_id, key, free, feature, place):
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

    async def _look_up(
        self, place: Place, tenant_id: str, key: Key, free: str, feature: Feature
    ) -> None:
        """Fill the place with what is stored; left empty, this process has claimed it, or has
        waited long enough for the one that had."""
        give_up = self._clock() + timedelta(seconds=feature.seconds)
        while True:
            now = self._clock()
            until = now + timedelta(seconds=feature.seconds)
            found = await self._threads.run(
                self._answers.find_or_claim, tenant_id, key.exact, now=now, claim_until=until
            )
            if isinstance(found, Answer):
                place.found, place.tier = found, "stored"
                self._remember(key, found, feature)
                return
            if found == "claimed" or now >= give_up:
                break
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        if feature.similarity is not None and key.group and cache.may_be_similar(free):
            place.found = await self._threads.run(
                self._similar, tenant_id, key.group, free, feature.similarity
            )
            if place.found is not None:
                place.tier = "similar"
                await self._threads.run(self._answers.release, tenant_id, key.exact)

    def _similar(self, tenant_id: str, group: str, free: str, similarity: float) -> Answer | None:
        stored = self._answers.similar(tenant_id, group, now=self._clock())
        return cache.best(free, cache.vector(free), stored, similarity) if stored else None

    @asynccontextmanager
    async def _claimed(
        self, tenant_id: str, key: Key, free: str, feature: Feature, place: Place
    ) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Shielded: a cancelled caller leaves no claim for others to wait for.
            if place.made is None or not place.lasting:
                release = self._threads.run(self._answers.release, tenant_id, key.exact)
                await asyncio.shield(release)
            else:
                stored = self._threads.run(
                    self._store, tenant_id, key, free, feature, place.made, self._clock()
                )
                await asyncio.shield(stored)

    def _store(
        self, tenant_id: str, key: Key, free: str, feature: Feature, answer: Answer, now: datetime
    ) -> None:
        similar = feature.similarity is not None and key.group and cache.may_be_similar(free)
        self._answers.store(
            tenant_id,
            key.exact,
            answer,
            now=now,
            expires_at=now + timedelta(seconds=feature.cache_seconds),
            group=key.group if similar else "",
            text=free if similar else "",
            vector=cache.vector(free) if similar else b"",
        )
        self._remember(key, answer, feature)

    def _remember(self, key: Key, answer: Answer, feature: Feature) -> None:
        now = self._clock()
        expires_at = now + timedelta(seconds=feature.cache_seconds)
        self._memory.keep(key.exact, answer, now=now, expires_at=expires_at)
