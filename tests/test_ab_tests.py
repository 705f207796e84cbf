"""A/B tests of scoring models: who serves whom, what is logged, and what the outcomes decide."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy.special import logit
from sqlalchemy import Connection, text
from typer.testing import CliRunner, Result

from ml.gate import Check, Gate
from ml.settings import Governance, TrainingSettings
from ml.tables import Tables
from orchestration import ab_commands
from tests.counting_model import MODEL, SPEC
from warehouse import (
    ab_records,
    ab_tests,
    alerts,
    crm,
    deployment,
    models,
    queue,
    retention,
    score_replay,
    tenants,
    training_settings,
)
from warehouse.ab_scoring import challenger_serves
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError
from warehouse.scoring import Champions, score_claimed, score_open_leads

LEADS = 2_000
IDS = [f"lead-{number}" for number in range(LEADS)]
CREATED = datetime.now(UTC) - timedelta(days=1)
# A day after the horizon of all that was scored has ended.
MATURED = datetime.now(UTC) + timedelta(days=31)
AWRY, RIGHT = 0.3, 0.1


def register(database: Database, tenant_id: str, probability: float, horizon_days: int = 30) -> int:
    """A version that gives every lead the same probability."""
    tables = Tables.constant(len(SPEC.features), float(logit(probability)))
    model = replace(MODEL, predictor=tables, horizon_days=horizon_days)
    with database.tenant(tenant_id) as connection:
        return models.register(connection, tenant_id, model, metrics={}, run_id="run")


def serve(database: Database, tenant_id: str, version: int) -> None:
    with database.tenant(tenant_id) as connection:
        deployment.deploy(connection, tenant_id, version, Governance(), actor="test", why="serves")


@pytest.fixture
def acme(database: Database) -> Database:
    """Two tenants of open leads: version 1 serves and says 0.3, version 2 says 0.1."""
    leads = pl.DataFrame({"lead_id": IDS, "attributes": ["{}"] * LEADS}).with_columns(
        created_at=pl.lit(CREATED)
    )
    for tenant_id in ("acme", "brio"):
        tenants.add(database, tenant_id)
        for probability in (AWRY, RIGHT):
            register(database, tenant_id, probability)
        serve(database, tenant_id, 1)
        with database.tenant(tenant_id) as connection:
            crm.upsert(connection, tenant_id, "leads", leads)
    return database


def start(
    database: Database,
    tenant_id: str = "acme",
    challenger: int = 2,
    *,
    share: float = 0.5,
    mode: ab_records.Mode = "split",
) -> int:
    with database.tenant(tenant_id) as connection:
        return ab_tests.start(
            connection, tenant_id, challenger, share=share, mode=mode, actor="ann"
        ).test_id


def score(database: Database, tenant_id: str = "acme") -> None:
    score_open_leads(database, tenant_id, Champions(), "run")


def served_by(database: Database, tenant_id: str = "acme") -> Mapping[str, int]:
    with database.tenant(tenant_id) as connection:
        rows = connection.execute(
            text("SELECT lead_id, model_version FROM serving.lead_scores_v1")
        ).all()
    return {row.lead_id: row.model_version for row in rows}


def convert(database: Database, rate: float, tenant_id: str = "acme", *, arm: float = 1.0) -> None:
    """Let a share of the leads convert ten days from now; arm: times as many of those that the
    challenger serves."""
    random, by = np.random.default_rng(1), served_by(database, tenant_id)
    happened = [
        lead_id for lead_id in IDS if random.random() < rate * (arm if by[lead_id] == 2 else 1.0)
    ]
    with database.tenant(tenant_id) as connection:
        connection.execute(
            text("UPDATE crm.leads SET converted_at = :at WHERE lead_id = ANY(:ids)"),
            {"at": datetime.now(UTC) + timedelta(days=10), "ids": happened},
        )
        hear(connection, tenant_id, days=250)
        connection.execute(text("DELETE FROM crm.rescore_queue"))


def hear(connection: Connection, tenant_id: str, *, days: int) -> None:
    """Each day a lead that is not in the test is closed: outcomes are known so far."""
    now = datetime.now(UTC)
    closed = pl.DataFrame(
        {
            "lead_id": [f"news-{day}" for day in range(days)],
            "created_at": [CREATED] * days,
            "closed_at": [now + timedelta(days=day) for day in range(days)],
            "attributes": ["{}"] * days,
        }
    )
    crm.upsert(connection, tenant_id, "leads", closed)


def judged(
    database: Database, now: datetime = MATURED, tenant_id: str = "acme"
) -> ab_records.ABTest:
    with database.tenant(tenant_id) as connection:
        found = ab_tests.judge(connection, tenant_id, now=now)
    assert found is not None
    return found


def champion(database: Database, tenant_id: str = "acme") -> int:
    with database.tenant(tenant_id) as connection:
        found = models.champion_version(connection, tenant_id)
    assert found is not None
    return found[0]


def logged(database: Database) -> dict[str, tuple[float, float, bool]]:
    with database.tenant("acme") as connection:
        rows = connection.execute(
            text("SELECT lead_id, champion, challenger, challenger_served FROM ml.ab_scores")
        ).all()
    return {row.lead_id: tuple(row[1:]) for row in rows}


def waiting(database: Database) -> int:
    with database.tenant("acme") as connection:
        found: int = connection.scalar(text("SELECT count(*) FROM crm.rescore_queue")) or 0
    return found


def test_each_lead_is_served_by_its_model_and_both_are_logged(acme: Database) -> None:
    start(acme, share=0.2)
    score(acme)
    said, by = logged(acme), served_by(acme)
    assert set(said) == set(by) == set(IDS)
    for lead_id, (champions, challengers, by_challenger) in said.items():
        assert (champions, challengers) == pytest.approx((AWRY, RIGHT))
        assert by[lead_id] == (2 if by_challenger else 1)
    share = np.mean([version == 2 for version in by.values()])
    assert abs(share - 0.2) < 3 * np.sqrt(0.2 * 0.8 / LEADS)
    with acme.tenant("acme") as connection:
        rows = connection.execute(
            text(
                "SELECT model_version, min(score), max(score)"
                " FROM serving.lead_scores_v1 GROUP BY 1"
            )
        ).all()
        assert sorted(tuple(row) for row in rows) == [(1, 30, 30), (2, 10, 10)]
        (replayed,) = score_replay.replay_newest(connection, "acme")
    assert [one.differences for one in replayed] == [()] * LEADS
    assert [one.lead_id for one in replayed] == sorted(IDS), "in the order of the history"
    score(acme, "brio")
    assert set(served_by(acme, "brio").values()) == {1}


def test_a_lead_keeps_its_model_and_its_first_scores(acme: Database) -> None:
    start(acme)
    score(acme)
    said, by = logged(acme), served_by(acme)
    with acme.tenant("acme") as connection:
        connection.execute(text("UPDATE crm.leads SET attributes = '{\"visits\": 1}'"))
    with acme.tenant("acme") as connection:
        claimed = queue.claim(connection, "acme", LEADS)
        assert claimed is not None
        assert score_claimed(connection, "acme", claimed, Champions(), "run") > 0
    assert (logged(acme), served_by(acme)) == (said, by)


def test_splits_of_two_tests_have_nothing_to_do_with_each_other() -> None:
    one, other = (challenger_serves(test_id, 0.5, IDS) for test_id in (1, 2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 3 / np.sqrt(LEADS)
    assert (one == challenger_serves(1, 0.5, IDS)).all()
    assert not challenger_serves(1, 0.0, IDS).any()


def test_in_shadow_mode_the_champion_serves_all_and_both_are_logged(acme: Database) -> None:
    start(acme, mode="shadow")
    score(acme)
    assert set(served_by(acme).values()) == {1}
    for champions, challengers, by_challenger in logged(acme).values():
        assert (champions, challengers) == pytest.approx((AWRY, RIGHT))
        assert not by_challenger
    convert(acme, RIGHT)
    assert judged(acme).status == "promoted"
    assert champion(acme) == 2


def test_a_better_challenger_is_promoted_and_its_effect_told(acme: Database) -> None:
    start(acme)
    score(acme)
    convert(acme, RIGHT)
    # The conversions are known; that the others do not convert is not.
    early = judged(acme, MATURED - timedelta(days=2))
    assert (early.status, early.result) == ("open", {})
    done = judged(acme)
    assert (done.status, champion(acme)) == ("promoted", 2)
    assert done.verdict.startswith("the challenger is better: log-loss -0.")
    loss = done.result["loss"]
    truth = -RIGHT * np.log(RIGHT / AWRY) - (1 - RIGHT) * np.log((1 - RIGHT) / (1 - AWRY))
    assert loss["low"] < truth < loss["high"] < 0
    assert done.result["leads"] == LEADS
    assert done.ended_at == MATURED
    with acme.tenant("acme") as connection:
        assert ab_tests.judge(connection, "acme", now=MATURED) is None
        actions = connection.scalars(
            text("SELECT action FROM ml.audit_log ORDER BY entry_id DESC LIMIT 5")
        ).all()
    assert waiting(acme) > LEADS / 2, "all open leads, for the new champion"
    assert actions[::-1] == [
        "model.challenger",
        "test.started",
        "model.challenger_removed",
        "test.promoted",
        "model.champion",
    ]


def test_outcomes_that_are_not_known_yet_do_not_count_as_none(acme: Database) -> None:
    """A CRM that is imported now and then: what happened since the newest import is not known."""
    start(acme)
    score(acme)
    convert(acme, RIGHT)
    with acme.tenant("acme") as connection:
        connection.execute(
            text("DELETE FROM crm.leads WHERE closed_at > :at"),
            {"at": datetime.now(UTC) + timedelta(days=20)},
        )
    unknown = judged(acme)
    assert (unknown.status, unknown.result) == ("open", {})
    with acme.tenant("acme") as connection:
        hear(connection, "acme", days=32)
    assert judged(acme).status == "promoted"


def test_a_worse_challenger_is_dropped_and_its_leads_are_scored_anew(acme: Database) -> None:
    start(acme)
    score(acme)
    convert(acme, AWRY)
    assert judged(acme).status == "dropped"
    assert champion(acme) == 1
    with acme.tenant("acme") as connection:
        assert models.aliased(connection, "acme", "challenger") is None
        still_open = connection.scalar(
            text(
                "SELECT count(*) FROM ml.ab_scores JOIN crm.leads USING (tenant_id, lead_id)"
                " WHERE challenger_served AND converted_at IS NULL"
            )
        )
    assert 0 < waiting(acme) == still_open
    score(acme)
    assert set(served_by(acme).values()) == {1}


def test_a_challenger_whose_leads_convert_less_is_dropped_though_its_scores_are_better(
    acme: Database,
) -> None:
    start(acme)
    score(acme)
    convert(acme, 0.2, arm=0.4)
    done = judged(acme)
    assert done.status == "dropped"
    assert "convert less" in done.verdict
    assert done.result["loss"]["high"] < 0
    assert done.result["conversions"]["high"] < 0


def test_where_nothing_shows_the_champion_stays_when_the_time_is_over(acme: Database) -> None:
    register(acme, "acme", AWRY)
    start(acme, challenger=3)
    score(acme)
    convert(acme, AWRY)
    with acme.tenant("acme") as connection:
        # Known late: these were closed before they were scored.
        late = (
            "UPDATE crm.leads SET closed_at = created_at, converted_at = NULL WHERE lead_id < :id"
        )
        closed = connection.execute(text(late), {"id": "lead-11"}).rowcount
    open_still = judged(acme)
    assert open_still.status == "open"
    assert open_still.result["leads"] == LEADS - closed < LEADS
    done = judged(acme, open_still.ends_at)
    assert (done.status, champion(acme)) == ("undecided", 1)


def test_where_a_person_has_to_approve_the_test_asks_and_serves_nobody_before(
    acme: Database,
) -> None:
    with acme.tenant("acme") as connection:
        asks = TrainingSettings(governance=Governance(approval=True))
        training_settings.save(connection, "acme", asks, actor="ann")
    with pytest.raises(GalenaError, match="no person has approved it"):
        start(acme)
    start(acme, mode="shadow")
    score(acme)
    convert(acme, RIGHT)
    assert judged(acme).status == "awaiting_approval"
    assert champion(acme) == 1
    with acme.tenant("acme") as connection:
        assert models.find(connection, "acme", 2).status == "awaiting_approval"
        deployment.approve(connection, "acme", 2, actor="ann", why="better in the test")
    start(acme)


def test_another_champion_ends_the_test(acme: Database) -> None:
    start(acme)
    score(acme)
    serve(acme, "acme", register(acme, "acme", 0.2))
    score(acme)
    assert set(served_by(acme).values()) == {3}, "at once, before the test is judged"
    done = judged(acme)
    assert (done.status, done.verdict) == ("overtaken", "version 3 serves meanwhile")


def test_a_stopped_test_leaves_its_log(acme: Database) -> None:
    start(acme)
    score(acme)
    with acme.tenant("acme") as connection:
        assert ab_tests.stop(connection, "acme", actor="ann").status == "stopped"
        with pytest.raises(GalenaError, match="has no open test"):
            ab_tests.stop(connection, "acme", actor="ann")
        assert [test.status for test in ab_records.find_all(connection, "acme")] == ["stopped"]
    assert len(logged(acme)) == LEADS
    assert start(acme) == 2
    score(acme)
    assert set(served_by(acme).values()) == {1, 2}


def test_what_a_test_logged_is_kept_as_long_after_it_as_scores_are(acme: Database) -> None:
    ages = retention.Ages()
    for ended_days_ago in (ages.scores - 1, ages.scores + 1, None):
        test_id = start(acme)
        with acme.tenant("acme") as connection:
            connection.execute(
                text(
                    "INSERT INTO ml.ab_scores SELECT 'acme', :test_id, 'lead-1',"
                    " now() - interval '9 years', 0.5, 0.5, false"
                ),
                {"test_id": test_id},
            )
            if ended_days_ago is not None:
                connection.execute(
                    text(
                        "UPDATE ml.ab_tests SET status = 'stopped',"
                        " ended_at = now() - make_interval(days => :days) WHERE test_id = :test_id"
                    ),
                    {"days": ended_days_ago, "test_id": test_id},
                )
    with acme.tenant("acme") as connection:
        assert retention.forget(connection, "acme", ages) == 1
        left = connection.scalars(text("SELECT test_id FROM ml.ab_scores ORDER BY 1")).all()
    assert left == [1, 3]


def test_a_test_that_cannot_be_says_why(acme: Database) -> None:
    with pytest.raises(GalenaError, match="above 0 and at most"):
        start(acme, share=0.6)
    with pytest.raises(GalenaError, match="no model version 9"):
        start(acme, challenger=9)
    with pytest.raises(GalenaError, match="is the champion itself"):
        start(acme, challenger=1)
    with pytest.raises(GalenaError, match="within 60 days, the champion within 30"):
        start(acme, challenger=register(acme, "acme", RIGHT, horizon_days=60))
    with acme.tenant("acme") as connection:
        churn = models.register(
            connection, "acme", MODEL, name="customer_churn", metrics={}, run_id="run"
        )
        deployment.retire(connection, "acme", 2, actor="ann", why="")
    with pytest.raises(GalenaError, match="only lead models serve leads"):
        start(acme, challenger=churn)
    with pytest.raises(GalenaError, match="is retired"):
        start(acme)
    start(acme, challenger=register(acme, "acme", RIGHT))
    with pytest.raises(GalenaError, match="Test 1 of tenant 'acme' is open"):
        start(acme, challenger=register(acme, "acme", RIGHT))
    tenants.add(acme, "cielo")
    with pytest.raises(GalenaError, match="no lead model that serves"):
        start(acme, "cielo", 1)


def test_all_tenants_are_judged_though_one_cannot_be(acme: Database) -> None:
    for tenant_id in ("acme", "brio"):
        start(acme, tenant_id)
        score(acme, tenant_id)
        convert(acme, RIGHT, tenant_id)
    damage(acme)
    assert ab_tests.judge_all(acme, now=MATURED) == 1
    assert (champion(acme), champion(acme, "brio")) == (1, 2)
    (alert,) = open_alerts(acme)
    assert alert.kind == "ab_test_failed"
    assert "sha256 differs" in alert.message
    tenants.set_status(acme, "acme", "paused")
    assert ab_tests.judge_all(acme, now=MATURED) == 0


def test_a_score_whose_scoring_began_before_the_test_counts_for_its_first_day(
    acme: Database,
) -> None:
    start(acme)
    score(acme)
    convert(acme, RIGHT)
    with acme.tenant("acme") as connection:
        connection.execute(
            text(
                "UPDATE ml.ab_scores SET scored_at = (SELECT started_at - interval '1 second'"
                " FROM ml.ab_tests) WHERE lead_id < 'lead-2'"
            )
        )
    assert ab_tests.judge_all(acme, now=MATURED) == 1
    assert champion(acme) == 2


def test_what_its_gate_refused_serves_nobody_before_a_person_approves(acme: Database) -> None:
    refused = Gate((Check("log_loss", False, "worse"),)).to_json()
    with acme.tenant("acme") as connection:
        models.describe(connection, "acme", 2, gate=refused)
    with pytest.raises(GalenaError, match="its gate refused it"):
        start(acme)
    start(acme, mode="shadow")
    score(acme)
    convert(acme, RIGHT)
    assert judged(acme).status == "awaiting_approval"
    assert champion(acme) == 1


def test_a_damaged_challenger_serves_no_lead(acme: Database) -> None:
    start(acme)
    damage(acme)
    score(acme)
    assert set(served_by(acme).values()) == {1}
    assert [alert.kind for alert in open_alerts(acme)] == ["ab_test_failed"]
    with acme.tenant("acme") as connection:
        ab_tests.stop(connection, "acme", actor="ann")
    assert open_alerts(acme) == []


def test_the_commands_start_show_list_and_stop(
    acme: Database, urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ab_commands, "_out", Console(width=200))
    names = ("OWNER_DATABASE", "DAGSTER_DATABASE", "MLFLOW_DATABASE")
    settings = {f"GALENA_{name}_URL": urls.owner for name in names}
    settings |= {"GALENA_DATABASE_URL": urls.app, "GALENA_HOME": str(tmp_path / "home")}

    def galena(*arguments: str) -> Result:
        return CliRunner().invoke(ab_commands.test_app, arguments, env=settings)

    assert "There was no test yet" in galena("list", "acme").output
    refused = galena("show", "acme")
    assert isinstance(refused.exception, GalenaError)
    assert "galena test start acme VERSION" in str(refused.exception)
    begun = galena("start", "acme", "2", "--share", "0.25").output
    assert "version 2 against 1; the challenger serves 25% of the leads" in begun
    assert "counts 30 days later" in begun
    assert "No outcome counts yet" in galena("show", "acme").output
    assert isinstance(galena("start", "acme", "2", "--shadow").exception, GalenaError)
    score(acme)
    convert(acme, AWRY)
    judged(acme)
    shown = galena("show", "acme").output
    assert "The challenger is worse: log-loss +0." in shown
    (line,) = (line for line in shown.splitlines() if line.lstrip().startswith("1 "))
    assert line.split()[1] == "2,000"
    assert re.search("1 +2 +1 +split +25% +dropped", galena("list", "acme").output)
    galena("start", "acme", "2", "--shadow")
    assert "version 1 goes on serving all leads" in galena("stop", "acme").output


def damage(database: Database) -> None:
    with database.tenant("acme") as connection:
        connection.execute(text("UPDATE ml.models SET artifact = 'x' WHERE version = 2"))


def open_alerts(database: Database) -> list[alerts.Alert]:
    with database.tenant("acme") as connection:
        return alerts.open_alerts(connection, "acme")
