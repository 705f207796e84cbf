"""What the cache saves of two days of a CRM's calls, and whether it ever serves a wrong answer."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from sqlalchemy import text

from ai import prompt
from ai.calls import Call
from ai.fake_provider.script import Script
from benchmarks.llm_installation import Place, opened, provider
from benchmarks.llm_paraphrases import similarities
from benchmarks.llm_workload import (
    DAYS,
    FEATURES,
    MINUTES,
    Asked,
    names,
    said,
    wordings,
    workload,
)
from benchmarks.reporting import console, show, told
from warehouse import llm_ledger, tenants
from warehouse.database import Database

if TYPE_CHECKING:
    from ai.gateway import Gateway
    from ai.giving import Given

SIMILARITY = 0.85
_BEGINS = datetime(2026, 3, 2, tzinfo=UTC)
_WEEK = 7 * 86_400
_TIERS = ("memory", "flight", "stored", "similar")
# A CRM runs in more than one process: what one has answered, another finds stored.
_PROCESSES = 2
_LENGTH = 600
_SORTED = '{"topic": "billing", "urgent": false, "mood": "calm"}'


class Triage(BaseModel):
    topic: Literal["billing", "delivery", "contract", "fault", "praise", "other"]
    urgent: bool
    mood: Literal["calm", "annoyed", "angry", "glad"]


@dataclass
class Outcome:
    """Of the second day; first_day: hits of the first, when nothing was stored yet.

    tiers: hits by feature and tier. wrong: answers without what a right one holds. usd, saved_usd:
    by the ledger. day_usd: of the calls of the second day, if each had been made.
    """

    asked: Counter[str]
    tiers: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_day: float = 0.0
    wrong: int = 0
    usd: Decimal = Decimal(0)
    saved_usd: Decimal = Decimal(0)
    seconds: float = 0.0

    @property
    def hits(self) -> float:
        return self.tiers.total() / self.asked.total()


def measure(place: Place, quick: bool) -> dict[str, float]:
    sizes = {"first": 3, "second": 2} if quick else {"first": 16, "second": 8}
    with told("a CRM's two days with the cache"):
        cached = _run(place, "with", sizes, 1.0, cached=True)
    with told("the second day without it"):
        bare = _run(place, "without", sizes, 1.0, cached=False)
    with told("two days that repeat themselves half as much"):
        half = _run(place, "half", sizes, 0.5, cached=True)
    with told("the cosines of questions"):
        shares = similarities()
    _show(cached, bare, half)
    right, wrong = shares[SIMILARITY]
    return {
        "hit_rate": cached.hits,
        "hit_rate_first_day": cached.first_day,
        "hit_rate_half_repetition": half.hits,
        "spend_saved": 1 - float(cached.usd / bare.usd),
        "usd_with_cache": float(cached.usd),
        "usd_without_cache": float(bare.usd),
        "wrong_hits": cached.wrong + half.wrong,
        "paraphrases_found": right,
        "paraphrases_wrong": wrong,
    }


def _show(cached: Outcome, bare: Outcome, half: Outcome) -> None:
    show(
        "Hits on the second day, by tier",
        ("", "calls", *_TIERS, "hits", "repeated half"),
        [
            (
                feature,
                f"{cached.asked[feature]:,}",
                *(f"{cached.tiers[feature, tier] / cached.asked[feature]:.1%}" for tier in _TIERS),
                f"{_share(cached, feature):.1%}",
                f"{_share(half, feature):.1%}",
            )
            for feature in FEATURES
        ],
    )
    console.print(
        f"all: {cached.hits:.1%} hits; on the first day, from nothing, {cached.first_day:.1%};"
        f" {half.hits:.1%} where half as much repeats ({half.first_day:.1%} on its first day)"
    )
    console.print(
        f"spent on the second day: ${cached.usd:.4f} with the cache, ${bare.usd:.4f} without;"
        f" the ledger says ${cached.saved_usd:.4f} saved"
    )


def _share(found: Outcome, feature: str) -> float:
    return sum(found.tiers[feature, tier] for tier in _TIERS) / found.asked[feature]


class _Clock:
    """The time of the workload: that of its minute, and what has really passed since."""

    def __init__(self) -> None:
        self.to(0)

    def to(self, minute: int) -> None:
        day, of_it = divmod(minute, MINUTES)
        self._at = _BEGINS + timedelta(days=day, hours=8, minutes=of_it)
        self._since = time.monotonic()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._since)


def _run(
    place: Place, name: str, sizes: Mapping[str, int], repetition: float, *, cached: bool
) -> Outcome:
    """The workload for tenants of its own; without the cache only its second day."""
    staff = {f"{name}-{size}": people for size, people in sizes.items()}
    database = Database(place.database_url)
    for tenant_id, people in staff.items():
        _add_tenant(database, tenant_id, people)
    asked = [one for one in workload(staff, repetition) if cached or one.minute >= MINUTES]
    clock = _Clock()
    kept = _WEEK if cached else 0
    features: dict[str, dict[str, Any]] = {
        "default": {"cache_seconds": kept, "output_tokens": 400},
        "answers": {
            "cache_seconds": kept,
            "output_tokens": 400,
            "similarity": SIMILARITY if cached else None,
        },
    }
    began = time.perf_counter()
    with ExitStack() as stack:
        url = stack.enter_context(provider(_script()))
        gateways = [
            stack.enter_context(opened(place, url, features, clock)) for _ in range(_PROCESSES)
        ]
        given = asyncio.run(_all(gateways, clock, asked))
    found = _outcome(asked, given)
    for tenant_id in staff:
        _add_spent(found, database, tenant_id)
    database.close()
    found.seconds = time.perf_counter() - began
    return found


def _script() -> Script:
    """Each wording of the knowledge base has the answer to its question, which begins with the
    question's number; all else is said again, in 150 tokens, and messages are all about billing."""
    canned = {
        way: f"[{number}]" + " as the handbook says" * (_LENGTH // 21)
        for number, intent in enumerate(wordings())
        for wording in intent
        for way in said(wording)
    }
    canned["You sort messages"] = _SORTED
    return Script(canned=canned, answer_tokens=_LENGTH // 4, keep=0)


def _add_tenant(database: Database, tenant_id: str, staff: int) -> None:
    tenants.add(database, tenant_id)
    rows = [
        {"tenant_id": tenant_id, "customer_id": f"c{n}", "name": name, "created_at": _BEGINS}
        for n, name in enumerate(names(staff))
    ]
    with database.tenant(tenant_id) as connection:
        connection.execute(_CUSTOMERS, rows)


_CUSTOMERS = text(
    "INSERT INTO crm.customers (tenant_id, customer_id, name, created_at)"
    " VALUES (:tenant_id, :customer_id, :name, :created_at)"
)


async def _all(
    gateways: Sequence["Gateway"], clock: _Clock, asked: Sequence[Asked]
) -> list["Given"]:
    """Minute by minute; the calls of one minute at once, by both processes in turn."""
    turn = itertools.cycle(gateways)
    given: list[Given] = []
    for minute, together in itertools.groupby(asked, key=lambda one: one.minute):
        clock.to(minute)
        given += await asyncio.gather(*(_ask(next(turn), one) for one in together))
    return given


async def _ask(gateway: "Gateway", asked: Asked) -> "Given":
    name = "triage" if asked.feature == "triage" else "answer"
    call = Call(
        asked.tenant_id,
        asked.feature,
        name,
        prompt.load(name).version,
        data_version=asked.data_version,
    )
    if asked.feature == "triage":
        _, given = await gateway.ask_for(Triage, call, asked.values)
        return given
    return await gateway.ask(call, asked.values)


def _outcome(asked: Sequence[Asked], given: Sequence["Given"]) -> Outcome:
    pairs = list(zip(asked, given, strict=True))
    second = [pair for pair in pairs if pair[0].minute >= MINUTES]
    first = [pair for pair in pairs if pair[0].minute < MINUTES]
    found = Outcome(Counter(one.feature for one, _ in second))
    for one, answer in second:
        if answer.tier:
            found.tiers[one.feature, answer.tier] += 1
    if first:
        found.first_day = sum(bool(answer.tier) for _, answer in first) / len(first)
    for one, answer in pairs:
        if one.proof not in answer.text:
            assert answer.tier, f"an answer that was made does not say {one.proof}"
            found.wrong += 1
    return found


def _add_spent(found: Outcome, database: Database, tenant_id: str) -> None:
    since, until = _BEGINS + timedelta(days=DAYS - 1), _BEGINS + timedelta(days=DAYS)
    with database.tenant(tenant_id) as connection:
        for used in llm_ledger.usage(connection, tenant_id, since=since, until=until):
            assert not used.errors
            assert not used.unpriced
            found.usd += used.usd
            found.saved_usd += used.saved_usd
