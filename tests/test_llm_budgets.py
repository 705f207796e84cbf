"""Budgets hold whoever calls at once and whoever dies in the middle, and are counted once."""

import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from ai.calls import Call, Usage
from ai.stores import Entry, NotReserved, Reserved
from warehouse import llm_budgets, retention, tenants
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.llm_budgets import AtLimit, Budget, Period
from warehouse.llm_ledger import StoredLedger

ACME, BRIO = "acme", "brio"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)
CENT = Decimal("0.01")
CALL = Call(ACME, "insights", "summary", "1a2b3c4d")


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


@pytest.fixture
def ledger(both: Database) -> StoredLedger:
    return StoredLedger(both)


def _put(
    database: Database,
    feature: str = "",
    *,
    usd: str | None = None,
    tokens: int | None = None,
    period: Period = "day",
    at_limit: AtLimit = "refuse",
    now: datetime = NOW,
) -> None:
    limit = None if usd is None else Decimal(usd)
    with database.tenant(ACME) as connection:
        budget = Budget(feature, limit, tokens, period, at_limit)
        llm_budgets.put(connection, ACME, budget, now=now, actor="ann")


def _taken(database: Database, now: datetime = NOW) -> list[tuple[str, Decimal, int]]:
    with database.tenant(ACME) as connection:
        found = llm_budgets.find_all(connection, ACME, now=now)
    return [(one.budget.feature, one.usd, one.tokens) for one in found]


def _reserve(
    ledger: StoredLedger,
    *,
    tokens: int = 100,
    cost: Decimal | None = CENT,
    call: Call = CALL,
    now: datetime = NOW,
) -> Reserved | NotReserved:
    until = now + timedelta(minutes=1)
    return ledger.reserve(call, tokens=tokens, cost=cost, now=now, until=until)


def _set_aside(ledger: StoredLedger, call: Call = CALL, now: datetime = NOW) -> str:
    reserved = _reserve(ledger, call=call, now=now)
    assert isinstance(reserved, Reserved), reserved
    return reserved.reservation_id


def _refused(
    ledger: StoredLedger, *, cost: Decimal | None = CENT, now: datetime = NOW
) -> NotReserved:
    refused = _reserve(ledger, cost=cost, now=now)
    assert isinstance(refused, NotReserved), refused
    return refused


def _took(cost: Decimal | None = CENT, tokens: int = 100, at: datetime = NOW) -> Entry:
    usage = Usage(tokens - tokens // 4, tokens // 4)
    return Entry(at, "small", "openai", "gpt-5-mini", "answered", usage, cost, 0.5)


def test_500_callers_at_once_spend_no_more_than_their_budget(both: Database) -> None:
    """Each sets 2 cents aside and takes 1; a dollar is enough for 100 calls."""
    ledger = StoredLedger(both)
    _put(both, usd="1.00", period="month")
    start, made = threading.Barrier(500), []

    def call(number: int) -> None:
        mine = Call(ACME, ("insights", "agents")[number % 2])
        start.wait()
        while True:
            asked = _reserve(ledger, cost=2 * CENT, call=mine)
            if isinstance(asked, Reserved):
                made.append(number)
                time.sleep(0.002)
                ledger.settle(mine, asked.reservation_id, _took())
                return
            if asked.why == "full":
                return
            time.sleep(random.Random(number).uniform(0.05, 0.25))

    with ThreadPoolExecutor(500) as pool:
        list(pool.map(call, range(500)))
    ((_feature, usd, tokens),) = _taken(both)
    assert usd == len(made) * CENT
    assert tokens == len(made) * 100
    # The last cent is not enough to set two aside.
    assert len(made) == 99
    with both.tenant(ACME) as connection:
        assert connection.scalar(text("SELECT sum(usd) FROM ml.llm_ledger")) == usd
        assert connection.scalar(text("SELECT count(*) FROM ml.llm_reservations")) == 0


def test_callers_of_several_features_wait_for_each_other_in_one_order(both: Database) -> None:
    ledger = StoredLedger(both)
    # In this order, so that the one of all features was not made first.
    for feature in ("insights", "agents", ""):
        _put(both, feature, usd="1000")

    def call(number: int) -> None:
        mine = Call(ACME, ("insights", "agents", "other")[number % 3])
        for turn in range(10):
            ledger.settle(mine, _set_aside(ledger, mine), _took())
            if number == 0:
                _put(both, "agents", usd="1000", period="month" if turn % 2 else "day")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(call, range(12)))
    taken = {feature: usd for feature, usd, _tokens in _taken(both)}
    assert taken[""] == 120 * CENT
    assert taken["insights"] == 40 * CENT


def test_without_a_budget_nothing_is_set_aside(both: Database, ledger: StoredLedger) -> None:
    _put(both, "agents", usd="0")
    assert _reserve(ledger, cost=None, tokens=10**9) == Reserved("")
    ledger.settle(CALL, "", _took())
    with both.tenant(ACME) as connection:
        assert connection.scalar(text("SELECT count(*) FROM ml.llm_reservations")) == 0
        assert connection.scalar(text("SELECT count(*) FROM ml.llm_ledger")) == 1
    assert _taken(both) == [("agents", Decimal(0), 0)]


def test_what_a_call_took_counts_in_place_of_what_it_set_aside(
    both: Database, ledger: StoredLedger
) -> None:
    _put(both, "insights", usd="1")
    _put(both, tokens=1000)
    reservation_id = _set_aside(ledger)
    assert _taken(both) == [("", CENT, 100), ("insights", CENT, 100)]
    other = _set_aside(ledger, Call(ACME, "agents"))
    ledger.settle(CALL, reservation_id, _took(CENT / 10, 40))
    assert _taken(both) == [("", CENT * 11 / 10, 140), ("insights", CENT / 10, 40)]
    # More than was set aside is not lost, and nothing is counted twice.
    for _ in range(2):
        ledger.settle(CALL, other, _took(3 * CENT, 300))
    assert _taken(both) == [("", CENT * 31 / 10, 340), ("insights", CENT / 10, 40)]


def test_a_cost_that_stays_unknown_leaves_what_was_set_aside(
    both: Database, ledger: StoredLedger
) -> None:
    _put(both, usd="1")
    ledger.settle(CALL, _set_aside(ledger), _took(None, 40))
    assert _taken(both) == [("", CENT, 40)]


def test_a_call_waits_while_others_may_leave_room(both: Database, ledger: StoredLedger) -> None:
    _put(both, usd="0.02", at_limit="cheaper")
    first, second = _set_aside(ledger), _set_aside(ledger)
    waiting = _refused(ledger)
    assert (waiting.why, waiting.at_limit) == ("waiting", "cheaper")
    ledger.settle(CALL, first, _took())
    assert _refused(ledger).why == "waiting"
    assert _refused(ledger, cost=2 * CENT).why == "full"
    ledger.settle(CALL, second, _took())
    full = _refused(ledger)
    assert full.why == "full"
    assert full.message == (
        "The budget of tenant 'acme' for all features, $0.0200 a day, leaves no room for this call:"
        " $0.0200 spent since 2026-11-21 UTC, $0.0000 set aside for calls under way; raise it with"
        " `galena llm budget acme`, or wait for the next day."
    )


def test_what_nobody_settled_counts_as_spent(both: Database, ledger: StoredLedger) -> None:
    _put(both, usd="0.01")
    late = _set_aside(ledger)
    assert _refused(ledger, now=SOON - timedelta(seconds=1)).why == "waiting"
    assert _refused(ledger, now=SOON).why == "full"
    assert _taken(both, SOON) == [("", CENT, 100)]
    # It was not dead after all.
    ledger.settle(CALL, late, _took(CENT / 2, 50))
    assert _taken(both, SOON) == [("", CENT / 2, 50)]


def test_what_a_killed_process_had_set_aside_counts_as_spent(
    both: Database, ledger: StoredLedger
) -> None:
    _put(both, usd="0.01")
    program = (
        "import os, signal, sys\n"
        "from tests.test_llm_budgets import _set_aside\n"
        "from warehouse.database import Database\n"
        "from warehouse.llm_ledger import StoredLedger\n"
        "_set_aside(StoredLedger(Database(sys.argv[1])))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, both.url], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert _refused(ledger).why == "waiting"
    assert _refused(ledger, now=SOON).why == "full"


def test_a_model_of_unknown_price_is_refused_under_a_budget_in_money(
    both: Database, ledger: StoredLedger
) -> None:
    _put(both, tokens=1000)
    reserved = _reserve(ledger, cost=None)
    assert isinstance(reserved, Reserved)
    ledger.settle(CALL, reserved.reservation_id, _took(None))
    assert _taken(both) == [("", Decimal(0), 100)]
    _put(both, "insights", usd="1", at_limit="cheaper")
    refused = _refused(ledger, cost=None)
    assert (refused.why, refused.at_limit) == ("unknown price", "cheaper")
    assert "use a model whose price is known" in refused.message


def test_of_several_budgets_the_worst_is_told(both: Database, ledger: StoredLedger) -> None:
    _put(both, "insights", usd="0", at_limit="cheaper")
    _put(both, tokens=150)
    _set_aside(ledger, Call(ACME, "agents"))
    refused = _refused(ledger)
    assert (refused.why, refused.at_limit) == ("full", "cheaper"), "the other would only wait"
    _put(both, tokens=50)
    refused = _refused(ledger)
    assert (refused.why, refused.at_limit) == ("full", "refuse")
    assert "50 tokens a day" in refused.message


@pytest.mark.parametrize(
    ("period", "last", "first"),
    [
        ("day", datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)),
        ("month", datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_each_period_begins_with_nothing_spent(
    both: Database, ledger: StoredLedger, period: Period, last: datetime, first: datetime
) -> None:
    _put(both, usd="0.01", period=period, now=last)
    before = _set_aside(ledger, now=last)
    assert _refused(ledger, now=last).why == "waiting"
    assert _taken(both, first) == [("", Decimal(0), 0)]
    ledger.settle(CALL, _set_aside(ledger, now=first), _took(at=first))
    assert _refused(ledger, now=first).why == "full", "the former period's call leaves no room"
    ledger.settle(CALL, before, _took(Decimal(0), 0, at=first))
    assert _taken(both, first) == [("", CENT, 100)]
    # By a clock that is a little behind, the new period has begun all the same.
    assert _refused(ledger, now=last).why == "full"
    _put(both, usd="0.02", period=period, now=first)
    behind = _set_aside(ledger, now=last)
    ledger.settle(CALL, behind, _took(CENT / 2, 50, at=last))
    assert _taken(both, first) == [("", CENT * 3 / 2, 150)]


def test_a_new_budget_counts_what_the_period_has_taken(
    both: Database, ledger: StoredLedger
) -> None:
    month, day = NOW - timedelta(days=3), NOW - timedelta(hours=1)
    for at in (NOW - timedelta(days=30), month, day):
        ledger.settle(CALL, "", _took(at=at))
        ledger.settle(Call(ACME, "agents"), "", _took(at=at))
    _put(both, "insights", usd="1", period="month")
    _put(both, usd="1", period="day")
    assert _taken(both) == [("", 2 * CENT, 200), ("insights", 2 * CENT, 200)]
    open_id = _set_aside(ledger)
    _put(both, "insights", usd="0.02", period="month", at_limit="cheaper")
    assert _taken(both)[1] == ("insights", 3 * CENT, 300), "other limits, the same count"
    _put(both, "insights", tokens=500, period="day")
    assert _taken(both)[1] == ("insights", 2 * CENT, 200), "with what is set aside"
    ledger.settle(CALL, open_id, _took(Decimal(0), 0))
    assert _taken(both) == [("", 2 * CENT, 200), ("insights", 2 * CENT, 200)]


def test_a_change_waits_for_who_is_setting_something_aside(both: Database) -> None:
    _put(both, usd="1")
    changing = threading.Thread(target=_put, args=(both,), kwargs={"usd": "1", "period": "month"})
    with both.tenant(ACME) as connection:
        llm_budgets.reserve(
            connection, ACME, "insights", tokens=100, usd=CENT, now=NOW, lapses_at=SOON
        )
        changing.start()
        changing.join(0.5)
        assert changing.is_alive()
    changing.join(60)
    assert _taken(both) == [("", CENT, 100)]


def test_a_removed_budget_limits_nothing(both: Database, ledger: StoredLedger) -> None:
    _put(both, usd="0.01")
    open_id = _set_aside(ledger)
    with both.tenant(ACME) as connection:
        assert llm_budgets.remove(connection, ACME, "", actor="ann")
        assert not llm_budgets.remove(connection, ACME, "", actor="ann")
    assert _reserve(ledger, cost=Decimal(99)) == Reserved("")
    ledger.settle(CALL, open_id, _took())
    assert _taken(both) == []
    with both.tenant(ACME) as connection:
        rows = connection.execute(text("SELECT action, details ->> 'usd' FROM ml.audit_log"))
        assert [tuple(row) for row in rows] == [("llm.budget", "0.01"), ("llm.budget.remove", None)]


def test_a_budget_limits_something(both: Database) -> None:
    with pytest.raises(GalenaError, match="give --usd, --tokens or both"):
        _put(both)


def test_one_tenants_calls_take_nothing_of_anothers_budget(
    both: Database, ledger: StoredLedger
) -> None:
    _put(both, usd="0.01")
    for _ in range(3):
        assert _reserve(ledger, call=Call(BRIO, "insights")) == Reserved("")
    assert _taken(both) == [("", Decimal(0), 0)]


def test_reservations_go_when_no_period_counts_them_any_more(
    both: Database, ledger: StoredLedger
) -> None:
    _put(both, usd="1")
    for days in (1, 39, 42):
        _set_aside(ledger, now=datetime.now(UTC) - timedelta(days=days))
    with both.tenant(ACME) as connection:
        assert retention.forget(connection, ACME, retention.Ages()) == 1
