"""What the history of attributes says of the time of their writing, on a real PostgreSQL."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from examples.simulator import PROFILES, simulate
from ml.leakage import Writes, WrittenAfter
from warehouse import crm, tenants
from warehouse.attribute_writes import written_after
from warehouse.database import Database

TIME = pl.Datetime("us", "UTC")
DAY = timedelta(days=1)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
NONE = Writes(1, 0, 0)


@pytest.fixture
def acme(database: Database) -> Database:
    tenants.add(database, "acme")
    return database


def _write(
    database: Database,
    lead_id: str,
    known: timedelta,
    attributes: object,
    *,
    converted: timedelta | None = None,
    closed: timedelta | None = None,
) -> None:
    """A version of a lead that was created on 1 June; times are since then."""
    row = {
        "lead_id": lead_id,
        "created_at": JUNE,
        "converted_at": None if converted is None else JUNE + converted,
        "closed_at": None if closed is None else JUNE + closed,
        "attributes": json.dumps(attributes),
        "known_at": JUNE + known,
    }
    times = dict.fromkeys(("created_at", "converted_at", "closed_at", "known_at"), TIME)
    with database.tenant("acme") as connection:
        crm.upsert(connection, "acme", "leads", pl.DataFrame([row], schema_overrides=times))


def _read(database: Database) -> dict[str, WrittenAfter]:
    with database.tenant("acme") as connection:
        return written_after(connection, "acme")


def test_writings_are_before_the_outcome_or_not(acme: Database) -> None:
    first = {"size": 3, "status": "open"}
    _write(acme, "won", 0 * DAY, first)
    _write(acme, "won", 2 * DAY, {**first, "size": 5})
    _write(acme, "won", 9 * DAY, {"size": 6, "status": "won", "contract": "A"}, converted=9 * DAY)
    _write(acme, "lost", 0 * DAY, first)
    _write(acme, "lost", 8 * DAY, {"size": 3, "status": "lost"}, closed=7 * DAY)
    assert _read(acme) == {
        "size": WrittenAfter(Writes(1, 1, 0), NONE),
        "status": WrittenAfter(Writes(1, 0, 1), Writes(1, 0, 1)),
        "contract": WrittenAfter(Writes(1, 0, 1), NONE),
    }


def test_what_is_filled_first_and_what_stays_empty_is_no_writing(acme: Database) -> None:
    _write(acme, "won", 0 * DAY, {"size": 3, "note": None})
    _write(acme, "won", 9 * DAY, {"size": 3, "note": "", "more": None}, converted=9 * DAY)
    assert _read(acme) == {}


def test_emptying_is_a_writing(acme: Database) -> None:
    _write(acme, "won", 0 * DAY, {"next_call": "2026-06-09"})
    _write(acme, "won", 9 * DAY, {}, converted=9 * DAY)
    assert _read(acme) == {"next_call": WrittenAfter(Writes(1, 0, 1), Writes(0, 0, 0))}


def test_leads_imported_with_their_outcome_say_nothing(acme: Database) -> None:
    _write(acme, "old", 40 * DAY, {"size": 3}, converted=9 * DAY)
    _write(acme, "old", 50 * DAY, {"size": 4, "contract": "A"}, converted=9 * DAY)
    assert _read(acme) == {}


def test_attributes_that_are_no_object_have_none_written(acme: Database) -> None:
    _write(acme, "won", 0 * DAY, {})
    _write(acme, "won", 1 * DAY, [1, 2])
    _write(acme, "won", 2 * DAY, {"size": 3})
    assert _read(acme) == {}


def test_an_open_lead_is_one_of_the_others_and_written_before(acme: Database) -> None:
    _write(acme, "open", 0 * DAY, {})
    _write(acme, "open", 9 * DAY, {"size": 3})
    assert _read(acme) == {"size": WrittenAfter(Writes(0, 0, 0), Writes(1, 1, 0))}


def test_another_tenant_sees_none_of_it(acme: Database) -> None:
    _write(acme, "open", 0 * DAY, {})
    _write(acme, "open", 9 * DAY, {"size": 3})
    tenants.add(acme, "other")
    with acme.tenant("other") as connection:
        assert written_after(connection, "acme") == {}


def test_a_simulated_milestone_comes_before_the_outcome(acme: Database) -> None:
    simulated = simulate(PROFILES["fjord"], 1, JUNE)
    versions = [simulated.leads, simulated.attribute_changes.select(simulated.leads.columns)]
    with acme.tenant("acme") as connection:
        for frame in versions:
            crm.upsert(connection, "acme", "leads", frame.unique("lead_id", keep="last"))
        found = written_after(connection, "acme")
    milestone = found[PROFILES["fjord"].milestone.name]
    assert milestone.converted.before + milestone.others.before > 20
    assert milestone.converted.after + milestone.others.after == 0
