"""What happens next in a simulated CRM: an endless stream of changes to its rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import compress
from typing import Any, Literal

import numpy as np
import polars as pl

from examples.simulator import customers as people
from examples.simulator import rows
from examples.simulator.columns import Bools, Floats
from examples.simulator.crm import SimulatedCrm
from examples.simulator.population import draw, generator, ids, with_milestone
from examples.simulator.process import Counts, each
from examples.simulator.standing import standing
from examples.simulator.texts import Writer

Table = Literal["leads", "interactions", "customers", "deals"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A row of a table, new or in a new version, as the CRM has it from the time `at` on."""

    at: datetime
    table: Table
    row: Row


Event = Callable[[datetime], list[Change]]


def live_changes(
    crm: SimulatedCrm, seed: int, start: datetime, rate_per_second: float
) -> Iterator[Change]:
    """Continue from crm.now without end, as changes at an even rate from `start` on.

    New leads are created, interactions happen, milestones are passed, leads convert (the lead, its
    deal and a new customer change together) or are lost (the lead, and its deal if it has one).
    Who does what follows the process; when, the rate: a day of the process is squeezed, or drawn
    out, into the time that its changes take, and the rows carry the time of the stream. The same
    arguments give the same changes.
    """
    for changes in live_events(crm, seed, lambda n: start + timedelta(seconds=n / rate_per_second)):
        yield from changes


def live_events(
    crm: SimulatedCrm, seed: int, time_of: Callable[[int], datetime]
) -> Iterator[list[Change]]:
    """The same stream event by event: the changes of one event belong together.

    time_of: the time of an event by the number of changes before it, asked when the event's turn
    comes. Who does what, and every id, is the same whatever the times are.
    """
    sent = 0
    for event in _Continuation(crm, seed, time_of(0)).events():
        changes = event(time_of(sent))
        yield changes
        sent += len(changes)


@dataclass
class _Lead:
    """An open lead's rows, and what may happen to it."""

    row: Row
    expected_amount: float
    deal: Row | None = None

    def create(self, at: datetime) -> list[Change]:
        return [self._update(at, created_at=at)]

    def act(self, interaction: Row, at: datetime) -> list[Change]:
        known = {"lead_id": self.row["lead_id"], "occurred_at": at, "known_at": at}
        return [Change(at, "interactions", {**interaction, **known})]

    def pass_milestone(self, attributes: str, at: datetime) -> list[Change]:
        return [self._update(at, attributes=attributes)]

    def convert(self, customer: Row, deal_id: str, amount: float, at: datetime) -> list[Change]:
        new = {"lead_id": self.row["lead_id"], "created_at": at}
        deal = self.deal or {**new, "deal_id": deal_id}
        signed = {"customer_id": customer["customer_id"], "amount": amount}
        won = {"stage": "won", "won": True, "closed_at": at, "known_at": at}
        return [
            self._update(at, converted_at=at),
            Change(at, "customers", {**customer, **new, "churned_at": None, "known_at": at}),
            Change(at, "deals", {**deal, **signed, **won}),
        ]

    def lose(self, at: datetime) -> list[Change]:
        changes = [self._update(at, closed_at=at)]
        if self.deal:
            lost = {"stage": "lost", "won": False, "closed_at": at, "known_at": at}
            changes.append(Change(at, "deals", {**self.deal, **lost}))
        return changes

    def _update(self, at: datetime, **values: object) -> Change:
        self.row = {**self.row, **values, "known_at": at}
        return Change(at, "leads", self.row)


class _Continuation:
    """The process going on from crm.now, with the rows of the leads that are open."""

    def __init__(self, crm: SimulatedCrm, seed: int, start: datetime) -> None:
        self._crm, self._profile, self._start = crm, crm.profile, start
        self._rng = generator(crm.profile, seed, "live")
        self._writer = Writer(crm.profile, self._rng)
        tables = {"L": crm.leads, "I": crm.interactions, "C": crm.customers, "D": crm.deals}
        self._numbers = {letter: len(table) for letter, table in tables.items()}
        self._open = _open_leads(crm)

    def events(self) -> Iterator[Event]:
        """What happens, day by day of the process; a day's events come in random order."""
        lead_ids = pl.Series([lead.row["lead_id"] for lead in self._open], dtype=pl.String)
        leads, counts, passing = standing(self._crm, lead_ids, self._crm.now).finish_day(
            self._profile, self._rng
        )
        outcomes: list[Event] = []
        while True:
            newcomers, scores = self._newcomers()
            day = [
                *outcomes,
                *(lead.create for lead in newcomers),
                *self._interactions(counts),
                *self._milestones(passing),
            ]
            yield from (day[position] for position in self._rng.permutation(len(day)))
            converts, lost = leads.decide(self._rng)
            lose = [lead.lose for lead in compress(self._open, lost)]
            outcomes = [*self._conversions(converts), *lose]
            kept = ~(converts | lost)
            leads.keep(kept)
            leads.add(scores)
            self._open = [*compress(self._open, kept), *newcomers]
            counts, passing = leads.live_a_day(self._rng)

    def _newcomers(self) -> tuple[list[_Lead], Floats]:
        """The leads that a day brings, and their scores."""
        per_day = self._profile.leads / self._crm.history_days
        created_at = pl.Series([self._start] * self._rng.poisson(per_day), dtype=rows.TIME)
        drawn = draw(self._profile, self._rng, created_at, before=self._numbers["L"])
        self._numbers["L"] += len(drawn)
        outcome = {"converted_at": None, "closed_at": None}
        newcomers = [
            _Lead({**row, **outcome}, expected_amount)
            for row, expected_amount in zip(
                drawn.select("lead_id", "account_id", "attributes").iter_rows(named=True),
                drawn["expected_amount"],
                strict=True,
            )
        ]
        return newcomers, drawn["score"].to_numpy()

    def _interactions(self, counts: Counts) -> Iterator[Event]:
        kind, lead = each(counts)
        interactions = pl.DataFrame(
            {
                "interaction_id": self._new_ids("I", len(kind)),
                "kind": pl.Series([kind.name for kind in self._profile.kinds]).gather(kind),
                "text": self._writer.from_leads(kind),
            }
        ).with_columns(customer_id=pl.lit(None, pl.String))
        for position, row in zip(lead, interactions.iter_rows(named=True), strict=True):
            yield partial(self._open[position].act, row)

    def _milestones(self, passing: Bools) -> Iterator[Event]:
        leads = [*compress(self._open, passing)]
        before = pl.Series([lead.row["attributes"] for lead in leads], dtype=pl.String)
        after = before.to_frame("attributes").select(
            with_milestone(self._profile, pl.col("attributes"))
        )
        for lead, attributes in zip(leads, after.to_series(), strict=True):
            yield partial(lead.pass_milestone, attributes)

    def _conversions(self, converts: Bools) -> Iterator[Event]:
        leads = [*compress(self._open, converts)]
        customers = people.draw(self._profile, self._rng, len(leads)).facts.with_columns(
            customer_id=self._new_ids("C", len(leads))
        )
        expected = pl.Series([lead.expected_amount for lead in leads], dtype=pl.Float64)
        deals = zip(self._new_ids("D", len(leads)), rows.amounts(self._rng, expected), strict=True)
        for lead, customer, deal in zip(leads, customers.iter_rows(named=True), deals, strict=True):
            yield partial(lead.convert, customer, *deal)

    def _new_ids(self, letter: str, n: int) -> pl.Series:
        self._numbers[letter] += n
        return ids(self._profile, letter, self._numbers[letter] - n + 1 + np.arange(n))


def _open_leads(crm: SimulatedCrm) -> list[_Lead]:
    is_open = pl.col("converted_at").is_null() & pl.col("closed_at").is_null()
    changed = crm.attribute_changes.select("lead_id", "attributes", "known_at")
    current = crm.leads.filter(is_open).update(changed, on="lead_id")
    expected = dict(crm.truth.leads.select("lead_id", "expected_amount").iter_rows())
    open_deals = crm.deals.filter(pl.col("closed_at").is_null()).iter_rows(named=True)
    deals = {deal["lead_id"]: deal for deal in open_deals}
    return [
        _Lead(row, expected[row["lead_id"]], deals.get(row["lead_id"]))
        for row in current.iter_rows(named=True)
    ]
