"""`galena lead`: what it prints of a lead's scores, and how it refuses."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Connection, text
from typer.testing import CliRunner, Result

from ml.movement import moves
from orchestration import lead_commands
from tests.score_history.past import (
    MINE,
    NOVEMBER_3,
    NOVEMBER_10,
    OCTOBER_5,
    OCTOBER_20,
    TIMES,
    VERSIONS,
    served_row,
    stored_row,
    tamper,
)
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError

Lead = Callable[..., Result]


@pytest.fixture
def lead(shared_urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lead:
    """Run `galena lead` on the shared database, in a terminal wide enough for its tables."""
    monkeypatch.setattr(lead_commands, "_out", Console(width=200))
    home = {"GALENA_HOME": str(tmp_path / "home")}
    return _command({**home, "GALENA_DATABASE_URL": shared_urls.app}, shared_urls)


def _command(settings: dict[str, str], urls: Urls) -> Lead:
    names = ("OWNER_DATABASE", "DAGSTER_DATABASE", "MLFLOW_DATABASE")
    others = {f"GALENA_{name}_URL": urls.owner for name in names}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(lead_commands.lead_app, arguments, env={**settings, **others})

    return run


def _refused(done: Result, words: str) -> None:
    assert isinstance(done.exception, GalenaError), (done.output, done.exception)
    assert re.search(words, str(done.exception)), done.exception


def test_show_prints_the_score_of_the_day_with_all_its_reasons(
    lead: Lead, mine: Connection
) -> None:
    done = lead("show", MINE, "a", "--at", "2026-10-20")
    served = served_row(mine, "a", OCTOBER_20)
    assert done.exit_code == 0, done.exception
    assert f"a at 2026-10-20T23:59:59.999999 UTC: score {served.score}, probability" in done.output
    assert "2026-10-20T10:00:00 UTC by run run-10-20 with model version 1" in done.output
    assert "It expires at 2026-10-22T10:00:00 UTC." in done.output
    for reason in served.reasoning:
        assert f"{reason['weight']:+.4f}  {reason['explanation']}" in done.output
    assert f"{served.base_log_odds:+.4f}  before anything" in done.output
    late = lead("show", MINE, "a", "--at", "2026-11-03T10:29Z").output
    assert "It had expired at 2026-10-22T10:00:00 UTC, and no newer score" in late
    assert "Calculated 2026-11-10" in lead("show", MINE, "a", "--at", "2026-11-11").output


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own time zone."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_times_are_in_utc_unless_they_say_otherwise(lead: Lead) -> None:
    for at, calculated_at in (
        ("2026-11-03T10:30:00.25", "2026-11-03"),
        ("2026-11-03T10:30", "2026-10-20"),
        ("2026-11-03T11:30:01+01:00", "2026-11-03"),
        ("2026-11-03T11:29+01:00", "2026-10-20"),
        ("2026-11-02", "2026-10-20"),
        ("2026-11-03", "2026-11-03"),
    ):
        assert f"Calculated {calculated_at}" in lead("show", MINE, "a", "--at", at).output, at


@pytest.mark.parametrize("nonsense", ["yesterday", "2026-13-01", "10:30", "0001-01-01T00:00+23:00"])
def test_a_time_that_is_none_is_refused_with_its_option(lead: Lead, nonsense: str) -> None:
    for arguments in (
        ("show", MINE, "a", "--at", nonsense),
        ("moved", MINE, "a", "--since", nonsense),
        ("moved", MINE, "a", "--until", nonsense),
        ("replay", MINE, "a", "--at", nonsense),
    ):
        words = f"{arguments[3]} is '{re.escape(nonsense)}' and no time in ISO 8601: give a date"
        _refused(lead(*arguments), words)


def test_history_lists_the_scores_newest_first(lead: Lead) -> None:
    done = lead("history", MINE, "a")
    found = re.findall(r"(2026-\S+) +\d+ +0\.\d{4} +\d\.\d\d +(\d)  \w", done.output)
    times = [at.replace(tzinfo=None).isoformat() for at in reversed(TIMES)]
    assert found == [(at, str(VERSIONS[datetime.fromisoformat(at + "Z")])) for at in times]
    for at in times:
        assert f"Calculated {at} UTC" in lead("show", MINE, "a", "--at", at).output, "given back"
    assert len(re.findall("2026-", lead("history", MINE, "a", "--limit", "2").output)) == 2


def test_moved_prints_what_moved_between_the_two_newest_or_two_days(
    lead: Lead, mine: Connection
) -> None:
    for options, between in (
        ((), (NOVEMBER_3, NOVEMBER_10)),
        (("--since", "2026-10-05", "--until", "2026-11-03"), (OCTOBER_5, NOVEMBER_3)),
        (("--until", "2026-10-20"), (OCTOBER_5, OCTOBER_20)),
    ):
        output = lead("moved", MINE, "a", *options).output
        before, after = (stored_row(mine, "a", at) for at in between)
        for at in between:
            served = served_row(mine, "a", at)
            assert f"{at:%Y-%m-%dT%H:%M:%S}" in output
            assert f" UTC: score {served.score}, probability" in output
        lines = re.findall(r"^ *([+-]\d+\.\d{4}) +([+-]\S+) +([+-]\S+)  (.*?) *$", output, re.M)
        expected = [move for move in moves(before, after) if move.change != 0]
        assert [line[3] for line in lines[:-1]] == [move.words for move in expected]
        assert lines[-1][3].startswith("log-odds of the probability")
        for column, total in enumerate(
            (after.log_odds - before.log_odds, before.log_odds, after.log_odds)
        ):
            assert float(lines[-1][column]) == pytest.approx(total, abs=6e-5)
        changes = [float(line[0]) for line in lines]
        assert sum(changes[:-1]) == pytest.approx(changes[-1], abs=1e-3)


def test_moved_says_when_no_score_came_in_between(lead: Lead) -> None:
    done = lead("moved", MINE, "a", "--since", "2026-10-05", "--until", "2026-10-19")
    assert "No score of a was calculated between the two times: it stayed" in done.output
    assert "as of 2026-10-05T10:00:00 UTC." in done.output


def test_replay_says_that_all_came_out(lead: Lead) -> None:
    assert lead("replay", MINE).output.strip() == (
        "10 replayed, every one the same to the bit (5 of version 2, 5 of version 1)."
    )
    assert "3 replayed, every one" in lead("replay", MINE, "--most", "3").output
    one = lead("replay", MINE, "a", "--at", "2026-10-31").output
    assert "1 replayed, every one the same to the bit (1 of version 1)." in one
    _refused(lead("replay", MINE, "--at", "2026-10-31"), "--at goes with a LEAD")
    _refused(lead("replay", MINE, "a", "--most", "3"), "--most goes without")


def test_replay_names_what_does_not_come_out_and_fails(
    own: Database, urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead_commands, "_SHOWN", 1)
    run = _command({"GALENA_HOME": str(tmp_path), "GALENA_DATABASE_URL": urls.app}, urls)
    tamper(own, "UPDATE ml.lead_score_history SET score = 101 WHERE model_version = 2")
    done = run("replay", MINE)
    assert "a at 2026-11-10T10:00:00 UTC: score: 101 stored, " in done.output
    assert "More differ; they are counted below." in done.output
    assert done.output.count("101 stored") == 1
    _refused(done, r"5 of 10 scores of tenant 'mine' \(5 of version 2, 5 of version 1\) do not")
    _refused(run("replay", MINE, "a"), "1 of 1 scores")
    with own.tenant(MINE) as connection:
        connection.execute(text("DELETE FROM ml.lead_score_history"))
    _refused(run("replay", MINE), "'mine' has no scores to replay")


@pytest.mark.parametrize("command", ["show", "history", "moved", "replay"])
def test_the_commands_name_a_lead_or_tenant_that_is_none(lead: Lead, command: str) -> None:
    _refused(lead(command, MINE, "nobody"), "Tenant 'mine' has no lead 'nobody'")
    _refused(lead(command, "nobody", "a"), "There is no tenant 'nobody'")
