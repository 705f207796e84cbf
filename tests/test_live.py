"""Live changes of the sample tenants: one story across restarts, and every new score is told."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from sqlalchemy import text

from examples import bank
from examples.simulator import PROFILES, Change, live_events, simulate
from ml.model import ConfidenceTable, Evidence, Model
from ml.spec import Column, FeatureSpec
from ml.tables import Tables
from orchestration import rescored, samples
from orchestration.live import Feed
from orchestration.rescored import Rescored
from orchestration.samples import Sample, simulated
from orchestration.streams import Note, Notes, Stream
from tests.score_history.past import inputs
from tests.test_tables import train
from warehouse import crm, models, tenants
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres
from warehouse.errors import GalenaError
from warehouse.migrate import migrate
from warehouse.rescoring import Rescorer
from warehouse.standing import standing

PATIENCE_SECONDS = 60
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PROFILE = replace(PROFILES["acme"], leads=600, customers=30)
PER_SECOND = 4.0
ENDED = ("converted: no longer scored", "lost: no longer scored")
# So fast that an event is due at every step.
ACME = simulated(PROFILE, 1000.0)
LINE = re.compile(r"acme  (\S+) +(-|[\d.]+) -> +(-|[\d.]+)  (.+?) +(\d+\.\d) s$")


def story(changes: list[Change]) -> list[object]:
    """What changes say of whom, whenever they say it."""
    return [
        (
            change.table,
            {
                name: value is None if isinstance(value, datetime | None) else value
                for name, value in change.row.items()
            },
        )
        for change in changes
    ]


def test_events_and_ids_are_the_same_whatever_their_times_are() -> None:
    crm = simulate(PROFILE, 1, NOW)
    calm = islice(live_events(crm, 1, lambda n: NOW + timedelta(seconds=n)), 3_000)
    hasty = islice(live_events(crm, 1, lambda n: NOW + timedelta(days=n // 500, seconds=n)), 3_000)
    for slow, fast in zip(calm, hasty, strict=True):
        assert story(slow) == story(fast)


def test_the_banks_open_calls_end_one_after_the_other_as_published() -> None:
    events = list(bank.live_events(lambda n: NOW + timedelta(seconds=n)))
    rows = pl.DataFrame([change.row for (change,) in events], infer_schema_length=None)
    assert rows["lead_id"].to_list() == bank.leads()["lead_id"].tail(2_000).to_list()
    assert (rows["known_at"].diff().drop_nulls() == timedelta(seconds=1)).all()
    outcomes = bank.withheld_outcomes()
    assert rows["converted_at"].is_not_null().equals(outcomes["converted"])
    assert rows.select(pl.coalesce("converted_at", "closed_at")).to_series().equals(outcomes["at"])
    assert (rows["converted_at"].is_null() ^ rows["closed_at"].is_null()).all()


def drawn(stream: Stream, clock: Iterator[datetime], events: int) -> Iterator[list[Change]]:
    """That many events, each noted as sent."""
    found = 0
    while found < events:
        changes = stream.due(next(clock))
        if changes is not None:
            found += 1
            yield changes
            stream.sent()


def clock(start: datetime) -> Iterator[datetime]:
    while True:
        yield start
        start += timedelta(seconds=0.1)


def test_a_stream_that_is_started_again_tells_the_same_story(tmp_path: Path) -> None:
    sample = simulated(PROFILE, PER_SECOND)
    (tmp_path / "whole").mkdir()
    whole = Stream(sample, Note(NOW), Notes(tmp_path / "whole"))
    expected = list(drawn(whole, clock(NOW), 1_000))

    notes, at = Notes(tmp_path), NOW
    told: list[list[Change]] = []
    notes.begin("acme", NOW)
    for session in range(5):
        note = notes.read("acme")
        assert note is not None
        stream = Stream(sample, note, notes)
        told += drawn(stream, clock(at), 200)
        # Killed between COMMIT and note: this one is told again.
        if session < 4:
            assert stream.due(told[-1][0].at + timedelta(seconds=4)) is not None
        at = told[-1][0].at + timedelta(days=1)
    assert [story(changes) for changes in told] == [story(changes) for changes in expected]
    changes = [change for event in told for change in event]
    assert all(earlier.at <= later.at for earlier, later in pairwise(changes))
    assert (changes[-1].at - changes[0].at).days == 4, "it goes on from the time of each start"

    created: dict[str, dict[str, Any]] = {}
    updated = 0
    for change in changes:
        if change.table == "leads":
            first = created.setdefault(change.row["lead_id"], change.row)
            updated += first is not change.row and first["created_at"] >= NOW
            assert change.row["created_at"] == first["created_at"]
    assert updated, "leads of earlier sessions keep the time at which they were created"


def test_a_stream_that_was_held_up_goes_on_from_now(tmp_path: Path) -> None:
    stream = Stream(simulated(PROFILE, PER_SECOND), Note(NOW), Notes(tmp_path))
    (first,) = drawn(stream, clock(NOW), 1)
    later = list(drawn(stream, clock(NOW + timedelta(hours=1)), 10))
    assert first[0].at == NOW
    assert later[0][0].at == NOW + timedelta(hours=1)
    assert later[-1][0].at > later[0][0].at


def test_a_stream_that_would_tell_another_story_does_not_begin(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    stream = Stream(simulated(PROFILE, PER_SECOND), Note(NOW), notes)
    list(drawn(stream, clock(NOW), 50))
    note = notes.read("acme")
    assert note is not None
    other = simulated(replace(PROFILE, daily_conversion=0.3), PER_SECOND)
    with pytest.raises(GalenaError, match=r"acme: no live changes.*galena tenant remove acme"):
        Stream(other, note, notes)


def test_a_sample_is_made_as_of_its_tenants_creation(database: Database, tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    ACME.create(database, notes)
    note = notes.read("acme")
    assert note is not None
    with database.tenant("acme") as connection:
        assert note == Note(tenants.find(connection).created_at)
        rows = connection.execute(
            text("SELECT lead_id, created_at, converted_at FROM crm.leads ORDER BY lead_id")
        )
        made = simulate(PROFILE, 7, note.created_at).leads
        expected = made.sort("lead_id").select("lead_id", "created_at", "converted_at")
        assert [tuple(row) for row in rows] == expected.rows()
    assert [s.tenant_id for s in samples.missing(database)] == ["bank", "brio", "cielo", "fjord"]


@dataclass
class Running:
    """A feed on a database, and what it has printed."""

    feed: Feed
    output: StringIO
    database: Database

    @property
    def lines(self) -> list[str]:
        return self.output.getvalue().splitlines()

    @property
    def scored(self) -> list[tuple[str, ...]]:
        """Of each line about a lead: lead, old score, new score, why, seconds."""
        return [found.groups() for line in self.lines if (found := LINE.match(line))]

    def burst(self, events: int) -> None:
        """That many events, all rescored before the feed looks again."""
        for _ in range(events):
            self.feed.step()
        rescorer = Rescorer(self.database, "run")
        while rescorer.step():
            pass
        self.feed.step()

    def until(self, condition: Callable[[], bool], rescorer: Rescorer | None) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.output.getvalue()
            self.feed.step()
            if rescorer is not None:
                while rescorer.step():
                    pass


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def begin(database: Database, *fed: Sample) -> Running:
        output = StringIO()
        console = Console(file=output, width=100)
        return Running(Feed(console, database, Notes(tmp_path), fed or (ACME,)), output, database)

    return begin


@pytest.fixture
def acme(database: Database, tmp_path: Path) -> Database:
    """The sample tenant with a model, all its open leads scored."""
    return fill(database, tmp_path)


def fill(database: Database, home: Path) -> Database:
    ACME.create(database, Notes(home))
    serve(database, "acme")
    rescorer = Rescorer(database, "first")
    while rescorer.step():
        pass
    return database


def serve(database: Database, tenant_id: str) -> None:
    """Let a model serve that weighs what live changes change."""
    kinds = tuple(kind.name for kind in PROFILE.kinds)
    spec = FeatureSpec((Column(PROFILE.milestone.name, "boolean"),), kinds)
    matrix = inputs(spec, 2000, seed=1)
    signal = np.nan_to_num(matrix).sum(axis=1)
    booster = train(matrix, signal > np.quantile(signal, 0.7), rounds=40)
    confidence = ConfidenceTable(
        np.array([0.0]), np.array([0.1, 0.3]), np.array([0.2, 0.8]), np.array([900, 100])
    )
    tables = Tables.compile(booster.dump_model())
    model = Model(spec, tables, confidence, Evidence("own_model", 2000, 600), NOW, 30)
    with database.tenant(tenant_id) as connection:
        version = models.register(
            connection, tenant_id, model, feature_set=1, metrics={}, run_id="training"
        )
        models.promote(connection, tenant_id, version, "champion", actor="test", why="it serves")


@pytest.fixture
def all_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescored, "_MOST_LINES", 10_000)


@pytest.mark.usefixtures("all_shown")
def test_each_new_score_is_told_with_the_old_one_the_reason_and_the_delay(
    acme: Database, start: Start
) -> None:
    running = start(acme)
    running.burst(80)
    assert running.lines[0] == "Live changes begin, so many a second: acme 1e+03."
    assert len(running.lines) == 2 + len(running.scored)
    assert all(len(line) <= 100 for line in running.lines)
    with acme.tenant("acme") as connection:
        rescored_leads = connection.scalars(
            text(
                "SELECT lead_id FROM ml.lead_score_history WHERE run_id = 'run' AND model_version"
                " = 1 GROUP BY lead_id"
            )
        ).all()
        had = {
            lead_id: [f"{100 * probability:.1f}" for probability in probabilities]
            for lead_id, probabilities in connection.execute(
                text(
                    "SELECT lead_id, array_agg(probability ORDER BY calculated_at)"
                    " FROM serving.lead_score_history_v1 GROUP BY lead_id"
                )
            )
        }
    still_open = {line[0]: line for line in running.scored if line[2] != "-"}
    assert still_open.keys() == set(rescored_leads)
    moved = [line for line in still_open.values() if line[1] != "-"]
    assert len(moved) > 30
    assert all([old, new] == had[lead_id] for lead_id, old, new, _, _ in moved)
    assert sum(bool(re.search(r"\w+: \d+ -> \d+ in \d+ days", why)) for *_, why, _ in moved) > 10


@pytest.mark.usefixtures("all_shown")
def test_new_and_ended_leads_are_told_as_such(acme: Database, start: Start) -> None:
    running = start(acme)
    running.burst(300)
    told = {why: set[str]() for why in ("new", *ENDED)}
    for lead_id, old, new, why, _seconds in running.scored:
        if why in told:
            told[why].add(lead_id)
            # One that ended before it was scored has neither.
            assert (new == "-") == (why in ENDED)
            assert old == "-" or why != "new"
    with acme.tenant("acme") as connection:
        found = connection.execute(
            text(
                "SELECT array_agg(lead_id) FILTER (WHERE converted_at > :now) AS converted,"
                " array_agg(lead_id) FILTER (WHERE closed_at > :now) AS lost,"
                " array_agg(lead_id) FILTER (WHERE created_at > :now AND converted_at IS NULL"
                "  AND closed_at IS NULL) AS new FROM crm.leads"
            ).bindparams(now=tenants.find(connection).created_at)
        ).one()
    assert told == {
        "new": set(found.new),
        ENDED[0]: set(found.converted),
        ENDED[1]: set(found.lost),
    }
    assert all(told.values())


def act(database: Database, lead_id: str, number: int) -> None:
    """The lead has a call."""
    at = datetime.now(UTC) - timedelta(seconds=1)
    frame = pl.DataFrame(
        {
            "interaction_id": [f"call-{number}"],
            "lead_id": [lead_id],
            "kind": ["call"],
            "occurred_at": [at],
            "known_at": [at],
        }
    )
    with database.tenant("acme") as connection:
        crm.upsert(connection, "acme", "interactions", frame)


def followed(database: Database) -> tuple[Rescored, StringIO, str]:
    """What follows an open lead whose change was committed just now, and what it prints."""
    output = StringIO()
    following = Rescored(Console(file=output, width=100), database)
    with database.tenant("acme") as connection:
        lead_id = connection.scalar(text("SELECT max(lead_id) FROM ml.lead_scores"))
        before = standing(connection, "acme", [lead_id])
    act(database, lead_id, 1)
    following.await_scores("acme", before, None)
    return following, output, lead_id


def test_a_lead_that_changes_again_is_told_once_with_the_score_of_both_changes(
    acme: Database,
) -> None:
    following, output, lead_id = followed(acme)
    rescorer = Rescorer(acme, "run")
    while rescorer.step():
        pass
    act(acme, lead_id, 2)
    following.step()
    assert output.getvalue() == ""
    while rescorer.step():
        pass
    following.step()
    (line,) = output.getvalue().splitlines()
    found = LINE.match(line)
    assert found is not None
    with acme.tenant("acme") as connection:
        scores = connection.scalars(
            text(
                "SELECT probability FROM ml.lead_score_history WHERE lead_id = :lead_id"
                " ORDER BY calculated_at"
            ).bindparams(lead_id=lead_id)
        ).all()
    assert len(scores) == 3
    assert found.group(1, 2, 3) == (lead_id, f"{100 * scores[0]:.1f}", f"{100 * scores[2]:.1f}")


def test_a_lead_that_gets_no_score_is_told_in_the_end(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescored, "_PATIENCE_S", 0.0)
    following, output, lead_id = followed(acme)
    following.step()
    (line,) = output.getvalue().splitlines()
    assert f" {lead_id} " in line
    assert "waits longer than 0 s for its score" in line
    following.step()
    assert output.getvalue().count("\n") == 1


def test_a_burst_is_shown_by_its_largest_movements_and_the_rest_is_counted(
    acme: Database, start: Start
) -> None:
    running = start(acme)
    running.burst(60)
    told = running.scored
    assert len(told) == 10
    (more,) = [line for line in running.lines if line.startswith("and ")]
    assert int(more.split()[1]) > 20
    movements = [abs(number(new) - number(old)) for _, old, new, _, _ in told]
    assert movements == sorted(movements, reverse=True)
    assert movements[0] > 0


def number(score: str) -> float:
    return 0.0 if score == "-" else float(score)


def records(database: Database) -> dict[str, int]:
    with database.tenant("acme") as connection:
        return crm.counts(connection, "acme")


def test_a_feed_that_is_started_again_goes_on(acme: Database, start: Start, tmp_path: Path) -> None:
    first = start(acme)
    before = records(acme)
    for _ in range(60):
        first.feed.step()
    again = start(acme)
    for _ in range(140):
        again.feed.step()

    note = Notes(tmp_path).read("acme")
    assert note is not None
    events = live_events(simulate(PROFILE, 7, note.created_at), 7, lambda _n: note.created_at)
    sent: list[Change] = []
    while len(sent) < note.sent:
        sent += next(events)
    assert len(sent) == note.sent
    ended = {
        change.row["lead_id"]: change.row["converted_at"] is not None
        for change in sent
        if change.table == "leads" and (change.row["converted_at"] or change.row["closed_at"])
    }
    assert ended
    interactions = [change for change in sent if change.table == "interactions"]
    after = records(acme)
    assert after["interactions"] == before["interactions"] + len(interactions)
    new = {change.row["lead_id"] for change in sent if change.table == "leads"}
    with acme.tenant("acme") as connection:
        found = connection.execute(
            text(
                "SELECT lead_id, converted_at IS NOT NULL AS converted, closed_at IS NOT NULL"
                " AS closed FROM crm.leads WHERE lead_id = ANY(:lead_ids)"
            ),
            {"lead_ids": list(new)},
        ).all()
    assert {row.lead_id: row.converted for row in found if row.converted or row.closed} == ended


def test_nothing_is_written_for_a_paused_tenant_until_it_is_resumed(
    acme: Database, start: Start
) -> None:
    running = start(acme)
    before = records(acme)
    running.until(lambda: records(acme) != before, None)
    tenants.set_status(acme, "acme", "paused")
    paused = records(acme)
    for _ in range(20):
        running.feed.step()
    assert records(acme) == paused
    tenants.set_status(acme, "acme", "active")
    running.until(lambda: records(acme) != paused, None)
    assert len(running.lines) == 2, "quietly"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_tenant_that_is_removed_or_another_by_its_name_gets_nothing(
    acme: Database, owner_url: str, start: Start, tmp_path: Path, at_once: bool
) -> None:
    running = start(acme)
    before = records(acme)
    running.until(lambda: records(acme) != before, None)
    tenants.erase(acme, "acme", owner_url)
    if at_once:
        tenants.add(acme, "acme")
    running.until(lambda: Notes(tmp_path).read("acme") is None, None)
    if not at_once:
        tenants.add(acme, "acme")
    for _ in range(5):
        running.feed.step()
    assert set(records(acme).values()) == {0}
    assert len(running.lines) == 2, "quietly"
    again = start(acme)
    again.feed.step()
    assert set(records(acme).values()) == {0}
    assert "acme: no live changes" in again.lines[0]


@pytest.mark.parametrize("noted", [True, False])
def test_a_tenant_without_a_note_or_with_anothers_is_named_once(
    database: Database, start: Start, tmp_path: Path, noted: bool
) -> None:
    tenants.add(database, "acme")
    if noted:
        Notes(tmp_path).begin("acme", NOW)
    running = start(database)
    for _ in range(10):
        running.feed.step()
    (line,) = running.lines
    assert line.startswith("acme: no live changes")
    assert "`galena tenant remove acme`" in line
    assert set(records(database).values()) == {0}


def test_a_database_that_is_away_is_told_once_and_waited_for(
    start: Start, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("away"))
    server.start()
    try:
        migrate(server.urls.owner)
        database = fill(Database(server.urls.app), tmp_path)
        running = start(database)
        running.until(lambda: bool(running.scored), Rescorer(database, "run"))
        server.stop()
        running.until(lambda: "PostgreSQL is away" in running.output.getvalue(), None)
        for _ in range(20):
            running.feed.step()
        server.start()
        running.until(lambda: "PostgreSQL is back" in running.output.getvalue(), None)
        told = len(running.scored)
        running.until(lambda: len(running.scored) > told, Rescorer(database, "run"))
        (away,) = (line for line in running.lines if "PostgreSQL is away" in line)
        database.close()
    finally:
        server.stop()
    assert away == "PostgreSQL is away: the live changes wait for it."


def test_the_file_of_notes_keeps_each_tenant_and_says_when_it_is_broken(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.begin("acme", NOW)
    note = Note(NOW, 7, 123, ((0, NOW), (5, NOW + timedelta(hours=1))))
    notes.write("brio", note)
    assert notes.read("brio") == note
    assert notes.read("acme") == Note(NOW)
    notes.forget("acme")
    assert notes.read("acme") is None
    assert notes.read("brio") == note
    (tmp_path / "live.json").write_text("{")
    with pytest.raises(GalenaError, match=r"live\.json should be JSON"):
        notes.read("brio")
