"""No change is lost: writers, claims, crashes and scorers in whatever order hypothesis finds."""

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, text

from tests import counting_model
from warehouse import queue, scores, tenants
from warehouse.database import Database
from warehouse.rescoring import Rescorer
from warehouse.scoring import Champions, score_claimed, score_open_leads

LEADS = ("a", "b", "c", "d")
_numbers = itertools.count(1)


@dataclass
class _Lead:
    """What the CRM has of a lead."""

    calls: int = 0
    visits: int = 0
    is_open: bool = True


@dataclass
class _Transaction:
    """An open transaction, and what happens to the leads when it commits."""

    stack: ExitStack
    connection: Connection
    effects: list[Callable[[dict[str, _Lead]], None]] = field(default_factory=list)
    # Leads whose row it has written: another writer would wait for it, as in any CRM.
    rows: set[str] = field(default_factory=set)


class QueueMachine(RuleBasedStateMachine):
    """Two writers and two scorers, each with a transaction that may stay open for long."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.writers: dict[int, _Transaction] = {}
        self.scorers: dict[int, tuple[_Transaction, queue.Claim]] = {}
        self.leads = {lead_id: _Lead() for lead_id in LEADS}
        self.champions = Champions()

    @initialize()
    def begin(self) -> None:
        self.tenant_id = f"tenant-{next(_numbers)}"
        tenants.add(self.database, self.tenant_id)
        with self.database.tenant(self.tenant_id) as connection:
            counting_model.serve(connection, self.tenant_id)
            for lead_id in LEADS:
                connection.execute(
                    text(
                        "INSERT INTO crm.leads (tenant_id, lead_id, created_at, attributes)"
                        " VALUES (:t, :l, now() - interval '9 days', '{\"visits\": 0}')"
                    ),
                    {"t": self.tenant_id, "l": lead_id},
                )

    def _writer(self, number: int) -> _Transaction:
        if number not in self.writers:
            self.writers[number] = self._open()
        return self.writers[number]

    def _open(self) -> _Transaction:
        stack = ExitStack()
        return _Transaction(stack, stack.enter_context(self.database.tenant(self.tenant_id)))

    def _row_is_free(self, number: int, lead_id: str) -> bool:
        return all(lead_id not in w.rows for n, w in self.writers.items() if n != number)

    @rule(number=st.integers(0, 1), lead_id=st.sampled_from(LEADS))
    def call(self, number: int, lead_id: str) -> None:
        writer = self._writer(number)
        writer.connection.execute(
            text(
                "INSERT INTO crm.interactions (tenant_id, interaction_id, lead_id, kind,"
                " occurred_at) VALUES (:t, :i, :l, 'call', now() - interval '1 hour')"
            ),
            {"t": self.tenant_id, "i": str(next(_numbers)), "l": lead_id},
        )
        writer.effects.append(lambda leads: _add_call(leads[lead_id]))

    @rule(number=st.integers(0, 1), lead_id=st.sampled_from(LEADS), visits=st.integers(1, 99))
    def visit(self, number: int, lead_id: str, visits: int) -> None:
        if self._row_is_free(number, lead_id):
            self._update(number, lead_id, f"attributes = '{{\"visits\": {visits}}}'")
            self.writers[number].effects.append(
                lambda leads: setattr(leads[lead_id], "visits", visits)
            )

    @rule(number=st.integers(0, 1), lead_id=st.sampled_from(LEADS), is_open=st.booleans())
    def close_or_reopen(self, number: int, lead_id: str, is_open: bool) -> None:
        if self._row_is_free(number, lead_id):
            self._update(number, lead_id, f"closed_at = {'NULL' if is_open else 'now()'}")
            self.writers[number].effects.append(
                lambda leads: setattr(leads[lead_id], "is_open", is_open)
            )

    def _update(self, number: int, lead_id: str, assignment: str) -> None:
        writer = self._writer(number)
        writer.rows.add(lead_id)
        writer.connection.execute(
            text(f"UPDATE crm.leads SET {assignment} WHERE lead_id = :l"), {"l": lead_id}
        )

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), commits=st.booleans())
    def end_writer(self, data: st.DataObject, commits: bool) -> None:
        writer = self.writers.pop(data.draw(st.sampled_from(sorted(self.writers))))
        if not commits:
            writer.connection.rollback()
        writer.stack.close()
        if commits:
            for effect in writer.effects:
                effect(self.leads)

    @rule(number=st.integers(0, 1), most=st.integers(1, 6))
    def claim(self, number: int, most: int) -> None:
        if number in self.scorers:
            return
        scorer = self._open()
        claimed = queue.claim(scorer.connection, self.tenant_id, most)
        if claimed is None:
            scorer.stack.close()
        else:
            self.scorers[number] = (scorer, claimed)

    @precondition(lambda self: self.scorers)
    @rule(data=st.data(), dies=st.booleans())
    def end_scorer(self, data: st.DataObject, dies: bool) -> None:
        scorer, claimed = self.scorers.pop(data.draw(st.sampled_from(sorted(self.scorers))))
        score_claimed(scorer.connection, self.tenant_id, claimed, self.champions, "run")
        if dies:
            scorer.connection.rollback()
        scorer.stack.close()

    @precondition(lambda self: not self.scorers)
    @rule()
    def score_all(self) -> None:
        score_open_leads(self.database, self.tenant_id, self.champions, "run")

    def teardown(self) -> None:
        for writer in self.writers.values():
            writer.stack.close()
            for effect in writer.effects:
                effect(self.leads)
        for scorer, _claimed in self.scorers.values():
            scorer.connection.rollback()
            scorer.stack.close()
        if hasattr(self, "tenant_id"):
            self._check()

    def _check(self) -> None:
        rescorer = Rescorer(self.database, "run")
        while rescorer.step():
            pass
        with self.database.tenant(self.tenant_id) as connection:
            served = connection.execute(
                text(
                    "SELECT s.lead_id, h.inputs FROM ml.lead_scores s"
                    " JOIN ml.lead_score_history h USING (tenant_id, lead_id, calculated_at)"
                )
            ).all()
            left = connection.scalar(text("SELECT count(*) FROM crm.rescore_queue"))
        known = {
            lead_id: (inputs[counting_model.CALLS], inputs[counting_model.VISITS])
            for lead_id, inputs in served
        }
        expected = {
            lead_id: (lead.calls, lead.visits)
            for lead_id, lead in self.leads.items()
            if lead.is_open
        }
        assert known == expected
        assert len(served) == len(known), "one score each"
        assert left == 0
        assert rescorer.tally.failed == 0


def _add_call(lead: _Lead) -> None:
    lead.calls += 1


def test_no_change_is_lost(database: Database) -> None:
    scores.ensure_partitions(database)
    machine = type("Machine", (QueueMachine,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _commit(machine: QueueMachine, number: int) -> None:
    writer = machine.writers.pop(number)
    writer.stack.close()
    for effect in writer.effects:
        effect(machine.leads)


def test_the_machine_notices_a_lost_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer that deletes all changes of its leads, and not only those that it read: one is
    committed after it has read them."""
    scores.ensure_partitions(database)
    machine = type("Machine", (QueueMachine,), {"database": database})()
    machine.begin()
    machine.call(0, LEADS[0])
    _commit(machine, 0)
    machine.claim(0, 6)
    machine.call(1, LEADS[0])

    def careless(connection: Connection, tenant_id: str, claimed: queue.Claim) -> None:
        _commit(machine, 1)
        connection.execute(
            text("DELETE FROM crm.rescore_queue WHERE tenant_id = :t AND lead_id = ANY(:l)"),
            {"t": tenant_id, "l": list(claimed.lead_ids)},
        )

    scorer, claimed = machine.scorers.pop(0)
    with monkeypatch.context() as patched:
        patched.setattr(queue, "finish", careless)
        score_claimed(scorer.connection, machine.tenant_id, claimed, machine.champions, "run")
        scorer.stack.close()
    with pytest.raises(AssertionError):
        machine.teardown()
