"""The ledger says what calls took, by whom and for what, and nothing of what was said."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from ai.calls import NOTHING, Call, Usage
from ai.stores import Entry, Outcome
from warehouse import alerts, llm_ledger, retention, tenants
from warehouse.alerts import StoredAlerts
from warehouse.database import Database
from warehouse.llm_ledger import StoredLedger, Used

ACME, BRIO = "acme", "brio"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CALL = Call(ACME, "insights", "summary", "1a2b3c4d", "managers", "data-7")
CENT = Decimal("0.01")


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


@pytest.fixture
def ledger(both: Database) -> StoredLedger:
    return StoredLedger(both)


def entry(
    outcome: Outcome,
    cost: Decimal | None = None,
    *,
    model: str = "gpt-5-mini",
    tokens: int = 0,
    seconds: float = 0.5,
    saved: Usage = NOTHING,
    at: datetime = NOW,
) -> Entry:
    return Entry(
        at=at,
        candidate="small",
        provider="openai",
        model=model,
        outcome=outcome,
        usage=Usage(tokens, tokens // 2, tokens // 4),
        cost=cost,
        seconds=seconds,
        saved=saved,
        saved_cost=CENT if saved != NOTHING else None,
    )


def _used(database: Database, tenant_id: str = ACME) -> list[Used]:
    with database.tenant(tenant_id) as connection:
        until = NOW + timedelta(seconds=1)
        since = NOW - timedelta(days=30)
        return list(llm_ledger.usage(connection, tenant_id, since=since, until=until))


def test_a_line_holds_everything_that_is_known_of_a_call(
    ledger: StoredLedger, database: Database
) -> None:
    given = Entry(
        at=NOW,
        candidate="small",
        provider="openai",
        model="gpt-5-mini",
        outcome="unclear",
        usage=Usage(120, 34, 100),
        cost=Decimal("0.00012345678"),
        seconds=1.5,
        saved=Usage(5, 6, 7),
        saved_cost=Decimal("0.5"),
        guessed=True,
        error="the stream broke off",
    )
    ledger.settle(CALL, "", given)
    with database.tenant(ACME) as connection:
        (row,) = connection.execute(text("SELECT * FROM ml.llm_ledger")).mappings()
    assert dict(row) == {
        "tenant_id": ACME,
        "entry_id": 1,
        "at": NOW,
        "feature": "insights",
        "prompt": "summary",
        "prompt_version": "1a2b3c4d",
        "scope": "managers",
        "data_version": "data-7",
        "candidate": "small",
        "provider": "openai",
        "model": "gpt-5-mini",
        "outcome": "unclear",
        "input_tokens": 120,
        "output_tokens": 34,
        "cached_tokens": 100,
        "usd": Decimal("0.00012345678"),
        "seconds": 1.5,
        "saved_input_tokens": 5,
        "saved_output_tokens": 6,
        "saved_cached_tokens": 7,
        "saved_usd": Decimal("0.5"),
        "guessed": True,
        "error": "the stream broke off",
    }


def test_sums_tell_used_from_saved_and_known_from_unknown(
    ledger: StoredLedger, database: Database
) -> None:
    for one in (
        entry("answered", CENT, tokens=100, seconds=1),
        entry("answered", None, tokens=100, seconds=2),
        entry("unclear", None, tokens=40, seconds=60),
        entry("failed", Decimal(0), seconds=60),
        entry("hit", seconds=0.001, saved=Usage(80, 20, 10)),
        entry("hit", seconds=0.001, saved=Usage(80, 20, 10)),
        entry("refused"),
        entry("blocked"),
        entry("fallback"),
    ):
        ledger.settle(CALL, "", one)
    (used,) = _used(database)
    assert used == Used(
        feature="insights",
        provider="openai",
        model="gpt-5-mini",
        prompt="summary",
        prompt_version="1a2b3c4d",
        answered=2,
        errors=2,
        hits=2,
        refused=3,
        usage=Usage(240, 120, 60),
        usd=CENT,
        unpriced=2,
        saved=Usage(160, 40, 20),
        saved_usd=2 * CENT,
        seconds=1.5,
    )


def test_sums_are_by_feature_model_and_prompt_version(
    ledger: StoredLedger, database: Database
) -> None:
    other = Call(ACME, "agents", "summary", "1a2b3c4d")
    newer = Call(ACME, "insights", "summary", "5e6f7a8b")
    for call in (CALL, other, newer):
        ledger.settle(call, "", entry("answered", CENT))
    ledger.settle(CALL, "", entry("answered", CENT, model="gpt-5"))
    ledger.settle(Call(BRIO, "insights"), "", entry("answered", CENT))
    for days in (31, -1):
        ledger.settle(CALL, "", entry("answered", CENT, at=NOW - timedelta(days=days)))
    assert [(one.feature, one.model, one.prompt_version, one.usd) for one in _used(database)] == [
        ("agents", "gpt-5-mini", "1a2b3c4d", CENT),
        ("insights", "gpt-5", "1a2b3c4d", CENT),
        ("insights", "gpt-5-mini", "1a2b3c4d", CENT),
        ("insights", "gpt-5-mini", "5e6f7a8b", CENT),
    ]
    assert [one.prompt for one in _used(database, BRIO)] == [""]


def test_old_lines_are_deleted(ledger: StoredLedger, database: Database) -> None:
    for days in (1, 399, 401):
        at = datetime.now(UTC) - timedelta(days=days)
        ledger.settle(CALL, "", entry("answered", CENT, at=at))
    with database.tenant(ACME) as connection:
        assert retention.forget(connection, ACME, retention.Ages()) == 1


def test_alerts_are_raised_updated_and_resolved(both: Database) -> None:
    stored = StoredAlerts(both)
    for message in ("opened", "opened again"):
        stored.raise_alert(ACME, "breaker open", "openai/gpt-5-mini", message)
    stored.raise_alert(ACME, "breaker open", "google/gemini", "opened")
    stored.raise_alert(BRIO, "breaker open", "openai/gpt-5-mini", "theirs")
    stored.resolve(ACME, "breaker open", "google/gemini")
    with both.tenant(ACME) as connection:
        found = alerts.open_alerts(connection, ACME)
    assert [(one.subject, one.message) for one in found] == [("openai/gpt-5-mini", "opened again")]
