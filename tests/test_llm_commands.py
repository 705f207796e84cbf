"""`galena llm` and `galena keys`, as a person uses them."""

import base64
import os
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from ai.calls import Answer, Call, Usage
from ai.stores import Kept
from tests.commands import Galena, refused
from tests.test_llm_ledger import entry
from warehouse import master_key, tenants
from warehouse.database import Database
from warehouse.llm_answers import StoredAnswers
from warehouse.llm_ledger import StoredLedger
from warehouse.master_key import MasterKeyError
from warehouse.tenant_keys import TenantKeys

ANSWER = Answer("said", "openai", "gpt-5-mini", "stop", Usage(1, 1))
FIRST, SECOND = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def keyed(galena: Galena, monkeypatch: pytest.MonkeyPatch) -> Galena:
    """With a master key, as a server of one's own needs it."""
    monkeypatch.setenv("GALENA_MASTER_KEY", FIRST)
    return galena


def _answers(database: Database) -> StoredAnswers:
    return StoredAnswers(database, TenantKeys(database, partial(master_key.read, dict(os.environ))))


def _store(database: Database, key: str) -> None:
    now = datetime.now(UTC)
    _answers(database).store("acme", key, ANSWER, now=now, expires_at=now + timedelta(hours=1))


def _found(database: Database, key: str) -> Answer | str:
    now = datetime.now(UTC)
    found = _answers(database).find_or_claim("acme", key, claim="x", now=now, claim_until=now)
    return found.answer if isinstance(found, Kept) else found


def test_usage_is_shown_by_feature_and_model(galena: Galena, database: Database) -> None:
    assert "No language model was called in the last 30 days" in galena("llm", "usage").stdout
    tenants.add(database, "brio")
    ledger, now = StoredLedger(database), datetime.now(UTC)
    for tenant_id in ("acme", "brio"):
        call = Call(tenant_id, "insights", "summary", "1a2b3c4d5e6f")
        for one in (
            entry("answered", Decimal("0.0125"), tokens=1200, seconds=2, at=now),
            entry("answered", None, tokens=1200, seconds=1, at=now),
            entry("failed", Decimal(0), at=now),
            entry("hit", saved=Usage(900, 100), at=now),
            entry("answered", Decimal(1), at=now - timedelta(days=8)),
        ):
            ledger.settle(call, "", one)
    shown = galena("llm", "usage", "acme", "--days", "7").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    first = lines.index("acme insights 3 1 0 1 2,400 in 0.0125")
    assert lines[first + 1 : first + 3] == [
        "openai gpt-5-mini 1.50 0.0100 1,200 out + 1 unknown",
        "summary 1a2b3c4d",
    ]
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    assert "brio" not in shown
    everyone = galena("llm", "usage").stdout
    assert re.search("acme.*brio", everyone, re.DOTALL)
    assert "In 30 days 8 requests for 2.0250 + 2 of unknown price US dollars" in everyone
    refused(galena("llm", "usage", "nobody"), "no tenant 'nobody'")


def test_a_budget_is_set_shown_and_removed(galena: Galena, database: Database) -> None:
    assert "acme has no budget" in galena("llm", "budget", "acme").stdout
    ledger, call = StoredLedger(database), Call("acme", "insights")
    ledger.settle(call, "", entry("answered", Decimal("0.25"), tokens=100, at=datetime.now(UTC)))
    galena("llm", "budget", "acme", "--usd", "20", "--at-limit", "cheaper")
    shown = galena("llm", "budget", "acme", "--feature", "insights", "--tokens", "5000").stdout
    month = f"{datetime.now(UTC):%Y-%m-01}"
    rows = re.sub(" +", " ", shown)
    assert f"all 0.2500 20.0000 150 {month} month cheaper" in rows
    assert f"insights 0.2500 150 5,000 {month} month refuse" in rows
    galena("llm", "budget", "acme", "--feature", "insights", "--usd", "0.10", "--per", "day")
    assert "insights 0.2500 0.1000 150" in re.sub(" +", " ", galena("llm", "budget", "acme").stdout)
    assert "all" not in galena("llm", "budget", "acme", "--remove").stdout
    refused(galena("llm", "budget", "acme", "--remove"), "has no budget for all features")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--usd", "1", "--per", "week"], "--per 'week' is unknown; expected day or month"),
        (["--usd", "1", "--at-limit", "stop"], "expected refuse or cheaper"),
        (["--usd", "1", "--feature", "In sights"], "is no feature's name"),
        (["--usd", "1", "--remove"], "give one or the other"),
        (["--usd", "inf"], "--usd inf is no amount"),
    ],
)
def test_what_is_no_budget_is_refused(galena: Galena, options: list[str], words: str) -> None:
    refused(galena("llm", "budget", "acme", *options), words)
    assert galena("llm", "budget", "acme", "--usd", "-1").exit_code == 2
    assert "acme has no budget" in galena("llm", "budget", "acme").stdout


def test_a_key_is_rotated_and_what_it_sealed_is_sealed_anew(
    keyed: Galena, database: Database
) -> None:
    assert "acme has no key yet" in keyed("keys", "list", "acme").stdout
    _store(database, "one")
    assert "has a new key" in keyed("keys", "rotate", "acme").stdout
    _store(database, "two")
    shown = keyed("keys", "list", "acme").stdout
    assert re.search(r" 1 .* rotated|rotated +1 ", shown)
    assert FIRST not in shown
    done = keyed("keys", "rotate", "acme", "--reseal").stdout
    assert "2 answers are sealed with it; 2 older keys are destroyed" in done
    assert "rotated" not in keyed("keys", "list", "acme").stdout
    assert [_found(database, key) for key in ("one", "two")] == [ANSWER, ANSWER]
    refused(keyed("keys", "list", "nobody"), "no tenant 'nobody'")


def test_a_tenant_whose_master_key_is_lost_begins_anew(
    keyed: Galena, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store(database, "one")
    monkeypatch.setenv("GALENA_MASTER_KEY", SECOND)
    with pytest.raises(MasterKeyError):
        _found(database, "one")
    assert "1 keys of acme are destroyed" in keyed("keys", "destroy", "acme", "--yes").stdout
    assert _found(database, "one") == "claimed"
    _store(database, "one")
    assert _found(database, "one") == ANSWER


def test_the_master_key_is_replaced_by_the_one_in_the_environment(
    keyed: Galena, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store(database, "one")
    refused(keyed("keys", "rotate-master"), "GALENA_MASTER_KEY_OLD is not set")
    monkeypatch.setenv("GALENA_MASTER_KEY", SECOND)
    refused(keyed("keys", "rotate", "acme", "--reseal"), "wrapped by the master key")
    monkeypatch.setenv("GALENA_MASTER_KEY_OLD", FIRST)
    assert "1 keys of 1 tenants" in keyed("keys", "rotate-master").stdout
    monkeypatch.delenv("GALENA_MASTER_KEY_OLD")
    assert _found(database, "one") == ANSWER


def test_the_master_key_that_was_made_here_is_replaced_by_a_new_one(
    galena: Galena, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["GALENA_HOME"])
    refused(galena("keys", "rotate", "acme"), "There is no master key")
    with monkeypatch.context() as laptop:
        laptop.delenv("GALENA_DATABASE_URL")
        _store(database, "one")
    before = (home / "master.key").read_text()
    assert "1 keys of 1 tenants" in galena("keys", "rotate-master").stdout
    assert [path.name for path in home.glob("master.key*")] == ["master.key"]
    assert (home / "master.key").read_text() != before
    assert _found(database, "one") == ANSWER


def test_who_changed_what_is_in_the_audit_log(keyed: Galena, database: Database) -> None:
    keyed("llm", "budget", "acme", "--usd", "1")
    keyed("llm", "budget", "acme", "--remove")
    keyed("keys", "rotate", "acme")
    keyed("keys", "destroy", "acme", "--yes")
    with database.tenant("acme") as connection:
        rows = connection.scalars(text("SELECT action FROM ml.audit_log ORDER BY entry_id"))
        assert list(rows) == ["llm.budget", "llm.budget.remove", "keys.rotate", "keys.destroy"]
