"""The watch over what serves, on a real database: figures, verdicts, and what follows from them."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy.special import logit
from sqlalchemy import func, select, text

from assets.lead_model import lead_model
from assets.model_watch import watch_models
from ml.algorithm import Floats, Matrix
from ml.model import Evidence
from ml.settings import Monitoring, TrainingSettings
from ml.tables import Tables
from orchestration import quality_report
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse
from sensors.model_watch import model_watch
from tests.counting_model import MODEL, SPEC, VISITS
from warehouse import (
    alerts,
    crm,
    deployment,
    features,
    model_monitoring,
    models,
    outcomes,
    retention,
    score_quality,
    scores,
    served_scores,
    tenants,
    training_jobs,
    training_settings,
)
from warehouse.database import Database
from warehouse.schema import audit_log, input_drift, model_looks

NOW = datetime.now(UTC)
SCORED = NOW - timedelta(days=40)
LEADS = 2_000
FEATURES = len(SPEC.features)


@pytest.fixture
def acme(database: Database) -> Database:
    for tenant_id in ("acme", "brio"):
        tenants.add(database, tenant_id)
    with database.operator() as connection:
        connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": SCORED})
    for tenant_id in ("acme", "brio"):
        hear(database, tenant_id, days=200)
    return database


def hear(database: Database, tenant_id: str, *, days: int) -> None:
    """Each day from SCORED on a lead that was never scored is closed: outcomes are known so far."""
    days_on = [timedelta(days=day) for day in range(days + 1)]
    closed = pl.DataFrame(
        {
            "lead_id": [f"news-{on.days}" for on in days_on],
            "created_at": [SCORED - timedelta(days=1)] * len(days_on),
            "closed_at": [SCORED + on for on in days_on],
            "attributes": ["{}"] * len(days_on),
        }
    )
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", closed)


def hear_no_more(database: Database, tenant_id: str, *, after: int) -> None:
    """Nothing is known of what happened more than so many days after SCORED."""
    with database.tenant(tenant_id) as connection:
        connection.execute(
            text("DELETE FROM crm.leads WHERE closed_at > :at"),
            {"at": SCORED + timedelta(days=after)},
        )


def served(
    database: Database,
    tenant_id: str,
    said: float,
    *,
    feature_set: int = 0,
    horizon_days: int = 30,
) -> int:
    """Deploy a version that says the same of every lead, as its hold-out promised."""
    model = replace(
        MODEL,
        predictor=Tables.constant(FEATURES, float(logit(said))),
        evidence=Evidence("own_model", 1_000, round(1_000 * said)),
        horizon_days=horizon_days,
    )
    promised = -(said * np.log(said) + (1 - said) * np.log(1 - said))
    with database.tenant(tenant_id) as connection:
        version = models.register(
            connection,
            tenant_id,
            model,
            feature_set=feature_set,
            metrics={"hold_out": {"model": {"log_loss": promised}}},
            run_id="run",
        )
        models.promote(connection, tenant_id, version, "champion", actor="run", why="trained")
        models.describe(connection, tenant_id, version, deployed_at=SCORED)
    return version


def scored(
    database: Database,
    tenant_id: str,
    *,
    version: int,
    said: float,
    converted: float,
    at: datetime = SCORED,
    name: str = "lead",
    visits: float = 1.0,
) -> None:
    """Leads that were scored at a time, a share of which converted 10 days later."""
    happened = np.random.default_rng(1).random(LEADS) < converted
    ids = [f"{name}-{number}" for number in range(LEADS)]
    leads = pl.DataFrame({"lead_id": ids, "attributes": ["{}"] * LEADS}).with_columns(
        created_at=pl.lit(at - timedelta(days=1)),
        converted_at=pl.when(pl.Series(happened)).then(pl.lit(at + timedelta(days=10))),
    )
    inputs = [0.0] * FEATURES
    inputs[VISITS] = visits
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", leads)
        scores.begin_anew(connection, tenant_id)
        scores.rank(connection, tenant_id, at, [said])
        block = pl.DataFrame(
            {
                "lead_id": ids,
                "score": pl.Series([round(100 * said)] * LEADS, dtype=pl.Int16),
                "probability": [said] * LEADS,
                "confidence": pl.Series([0.5] * LEADS, dtype=pl.Float32),
                "contributions": pl.Series([[0.0]] * LEADS, dtype=pl.List(pl.Float32)),
                "inputs": pl.Series([inputs] * LEADS, dtype=pl.List(pl.Float32)),
            }
        )
        scores.write(connection, tenant_id, block, scores.Stamp(version, at, NOW, at, "run"))


def look(database: Database, tenant_id: str, now: datetime = NOW) -> model_monitoring.Look:
    found = model_monitoring.look(database, tenant_id, now=now)
    assert found is not None
    return found


def champion(database: Database, tenant_id: str) -> int | None:
    with database.tenant(tenant_id) as connection:
        found = models.champion_version(connection, tenant_id)
    return None if found is None else found[0]


def open_kinds(database: Database, tenant_id: str) -> list[str]:
    with database.tenant(tenant_id) as connection:
        return sorted(alert.kind for alert in alerts.open_alerts(connection, tenant_id))


def trail(database: Database, tenant_id: str) -> list[tuple[str, str]]:
    """Who did what, in order."""
    with database.tenant(tenant_id) as connection:
        rows = connection.execute(
            select(audit_log.c.actor, audit_log.c.action).order_by(audit_log.c.entry_id)
        )
        return [(actor, action) for actor, action in rows]


def jobs(database: Database, tenant_id: str) -> list[str]:
    with database.tenant(tenant_id) as connection:
        return [job.requested_by for job in training_jobs.find_all(connection, tenant_id)]


def test_a_model_that_its_predecessor_beats_gives_way_to_it(acme: Database) -> None:
    for tenant_id, converted in (("acme", 0.1), ("brio", 0.3)):
        first = served(acme, tenant_id, 0.1)
        second = served(acme, tenant_id, 0.3)
        scored(acme, tenant_id, version=second, said=0.3, converted=converted)
    found = look(acme, "acme")
    assert (found.action, found.restored) == ("rollback", first)
    assert champion(acme, "acme") == first
    assert open_kinds(acme, "acme") == ["model_degraded", "model_drift"]
    assert jobs(acme, "acme") == ["monitoring"]
    assert trail(acme, "acme")[-4:] == [
        ("monitoring", "model.degraded"),
        ("monitoring", "model.rollback"),
        ("monitoring", "model.champion"),
        ("monitoring", "training.ask"),
    ]
    assert look(acme, "brio").action == "nothing"
    assert champion(acme, "brio") == second
    assert open_kinds(acme, "brio") == jobs(acme, "brio") == []


def test_a_world_that_shifted_for_both_asks_for_a_training_alone_and_once(acme: Database) -> None:
    served(acme, "acme", 0.1)
    second = served(acme, "acme", 0.13)
    scored(acme, "acme", version=second, said=0.13, converted=0.4)
    found = look(acme, "acme")
    assert (found.action, found.verdict.predecessor_better) == ("retraining", False)
    assert champion(acme, "acme") == second
    assert "model_degraded" in open_kinds(acme, "acme")
    with acme.tenant("acme") as connection:
        (job,) = training_jobs.find_all(connection, "acme")
        training_jobs.ask_to_cancel(connection, "acme", job.job_id, actor="a test")
    assert look(acme, "acme", NOW + timedelta(days=1)).action == "nothing"
    assert len(jobs(acme, "acme")) == 1
    assert "model_degraded" in open_kinds(acme, "acme"), "it still is"


def test_outcomes_that_are_not_known_yet_do_not_count_as_none(acme: Database) -> None:
    """A CRM that is imported now and then: what happened since the newest import is not known."""
    served(acme, "acme", 0.02)
    second = served(acme, "acme", 0.1)
    scored(acme, "acme", version=second, said=0.1, converted=0.1 / 3)
    hear_no_more(acme, "acme", after=10)
    found = look(acme, "acme")
    assert (found.action, found.verdict.judged) == ("nothing", 0)
    assert (found.drifted.rows, found.weeks) == (0, ())
    assert champion(acme, "acme") == second
    assert model_monitoring.due(acme, now=NOW + timedelta(hours=1)) == [], "not until more matures"
    hear(acme, "acme", days=30)
    assert look(acme, "acme", NOW + timedelta(days=1)).verdict.judged == LEADS


def test_outcomes_are_known_up_to_the_newest_or_to_when_a_live_source_was_read(
    acme: Database,
) -> None:
    def known(now: datetime = NOW) -> datetime:
        with acme.tenant("acme") as connection:
            return outcomes.known_until(connection, "acme", now)

    assert known(SCORED + timedelta(days=10, hours=1)) == SCORED + timedelta(days=10)
    hear_no_more(acme, "acme", after=20)
    assert known() == SCORED + timedelta(days=20)
    live = (
        "INSERT INTO crm.sources (tenant_id, source_id, url_variable, mapping, slot_name, read_at)"
        " VALUES (:tenant_id, :source_id, 'URL', CAST(:mapping AS jsonb), 'slot', :at)"
    )
    of_leads = '{"tables": {"crm.lead": {"table": "leads"}}}'
    for tenant_id, source_id, mapping, days in (
        ("brio", "of-others", of_leads, 0),
        ("acme", "of-events", '{"tables": {"event": {"table": "interactions"}}}', 1),
        ("acme", "not-read-yet", of_leads, None),
    ):
        with acme.tenant(tenant_id) as connection:
            at = None if days is None else SCORED + timedelta(days=days)
            asked = {"tenant_id": tenant_id, "source_id": source_id, "mapping": mapping, "at": at}
            connection.execute(text(live), asked)
    assert known() == SCORED + timedelta(days=20), "none of them gives its leads"
    for source_id, days in (("one", 39), ("other", 35)):
        with acme.tenant("acme") as connection:
            at = SCORED + timedelta(days=days)
            asked = {"tenant_id": "acme", "source_id": source_id, "mapping": of_leads, "at": at}
            connection.execute(text(live), asked)
    assert known() == SCORED + timedelta(days=35)
    assert known(SCORED) == SCORED
    with acme.tenant("acme") as connection:
        connection.execute(text("DELETE FROM crm.sources"))
    hear_no_more(acme, "acme", after=-1)
    assert known() == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_training_that_came_to_nothing_is_asked_for_again(acme: Database) -> None:
    only = served(acme, "acme", 0.3)
    scored(acme, "acme", version=only, said=0.3, converted=0.6)
    ended = "UPDATE ml.training_jobs SET status = 'failed', ended_at = now(), model_version = :made"
    for day, (made, action) in enumerate(((None, "retraining"), (only, "retraining"))):
        assert look(acme, "acme", NOW + timedelta(days=day)).action == action
        assert look(acme, "acme", NOW + timedelta(days=day, hours=1)).action == "nothing"
        with acme.tenant("acme") as connection:
            connection.execute(text(ended), {"made": made})
    assert look(acme, "acme", NOW + timedelta(days=2)).action == "nothing", "there is a newer one"
    assert jobs(acme, "acme") == ["monitoring"] * 2
    told = [action for _, action in trail(acme, "acme")]
    assert (told.count("model.degraded"), told.count("training.ask")) == (1, 2)


def test_a_version_degraded_is_rolled_back_once_the_tenant_allows_it(acme: Database) -> None:
    first = served(acme, "acme", 0.1)
    second = served(acme, "acme", 0.3)
    scored(acme, "acme", version=second, said=0.3, converted=0.1)
    for day, rollback, expected in ((0, False, second), (1, True, first)):
        decided = TrainingSettings(monitoring=Monitoring(rollback=rollback))
        with acme.tenant("acme") as connection:
            training_settings.save(connection, "acme", decided, actor="a test")
        found = look(acme, "acme", NOW + timedelta(days=day))
        assert found.action == ("rollback" if rollback else "retraining")
        assert champion(acme, "acme") == expected
    assert jobs(acme, "acme") == ["monitoring"], "the first is waiting still"


def test_the_version_before_is_asked_in_blocks_as_in_one(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(acme, "acme", 0.1)
    second = served(acme, "acme", 0.12)
    scored(acme, "acme", version=second, said=0.12, converted=0.12)
    at_once = look(acme, "acme")
    monkeypatch.setattr(served_scores, "_BLOCK", 300)
    asked: list[int] = []

    def rival(inputs: Matrix) -> Floats:
        asked.append(len(inputs))
        return inputs[:, VISITS].astype(float)

    with acme.reader("acme") as reader:
        found = served_scores.of_version(
            reader, "acme", second, since=SCORED, horizon_days=30, features=FEATURES, until=NOW,
            rival=rival,
        )  # fmt: skip
    assert asked == [300] * 6 + [200]
    assert found.rival is not None
    assert (found.rival == 1).all()
    assert len(found.outcome) == len(found.probability) == len(found.rival) == LEADS
    assert look(acme, "acme", NOW + timedelta(hours=1)).verdict == at_once.verdict


def test_without_a_predecessor_there_is_nothing_to_go_back_to(acme: Database) -> None:
    only = served(acme, "acme", 0.3)
    scored(acme, "acme", version=only, said=0.3, converted=0.6)
    assert look(acme, "acme").action == "retraining"
    assert champion(acme, "acme") == only


def test_the_tenant_decides_whether_a_model_is_rolled_back(acme: Database) -> None:
    served(acme, "acme", 0.1)
    second = served(acme, "acme", 0.3)
    scored(acme, "acme", version=second, said=0.3, converted=0.1)
    decided = TrainingSettings(monitoring=Monitoring(rollback=False))
    with acme.tenant("acme") as connection:
        training_settings.save(connection, "acme", decided, actor="a test")
    assert look(acme, "acme").action == "retraining"
    assert champion(acme, "acme") == second


def test_what_was_restored_is_judged_on_its_own_scores_and_nothing_goes_back_and_forth(
    acme: Database,
) -> None:
    first = served(acme, "acme", 0.1)
    second = served(acme, "acme", 0.3)
    scored(acme, "acme", version=first, said=0.1, converted=0.5, at=SCORED, name="of the first")
    scored(acme, "acme", version=second, said=0.3, converted=0.1, at=SCORED + timedelta(seconds=1))
    assert look(acme, "acme").restored == first
    again = look(acme, "acme", NOW + timedelta(days=1))
    assert (again.version, again.verdict.judged, again.action) == (first, 0, "nothing")
    assert champion(acme, "acme") == first
    assert "model_degraded" in open_kinds(acme, "acme"), "nothing is proven yet"
    with acme.tenant("acme") as connection:
        assert deployment.previous(connection, "acme") is None


def test_a_newer_model_ends_the_alert(acme: Database) -> None:
    only = served(acme, "acme", 0.3)
    scored(acme, "acme", version=only, said=0.3, converted=0.6)
    look(acme, "acme")
    with acme.tenant("acme") as connection:
        model = replace(MODEL, trained_at=NOW + timedelta(hours=1))
        version = models.register(connection, "acme", model, metrics={}, run_id="run")
        models.promote(connection, "acme", version, "champion", actor="run", why="trained")
    look(acme, "acme", NOW + timedelta(days=1))
    assert "model_degraded" not in open_kinds(acme, "acme")


def test_weeks_are_measured_once_their_scores_have_matured(acme: Database) -> None:
    version = served(acme, "acme", 0.1)
    scored(acme, "acme", version=version, said=0.1, converted=0.2)
    assert look(acme, "acme", SCORED + timedelta(days=29)).weeks == ()
    # A second score of the same week and lead does not count.
    later = SCORED + timedelta(microseconds=1)
    scored(acme, "acme", version=version, said=0.1, converted=0.2, at=later)
    for minutes in range(2):
        look(acme, "acme", NOW + timedelta(minutes=minutes))
    with acme.tenant("acme") as connection:
        (week,) = score_quality.find_all(connection, "acme")
        shown = connection.execute(text("SELECT * FROM serving.score_quality_v1")).one()
    assert week.week_start == SCORED.date() - timedelta(days=SCORED.weekday())
    assert week.quality.rows == LEADS
    assert week.quality.predicted == pytest.approx(0.1)
    assert week.quality.observed == week.quality.converted / LEADS
    assert week.quality.observed == pytest.approx(0.2, abs=0.03)
    assert week.quality.log_loss == pytest.approx(
        -(week.quality.observed * np.log(0.1) + (1 - week.quality.observed) * np.log(0.9))
    )
    assert (shown.version, shown.rows) == (version, LEADS)
    with acme.tenant("brio") as connection:
        assert score_quality.find_all(connection, "brio") == []


def test_weeks_of_a_long_horizon_are_measured(database: Database) -> None:
    tenants.add(database, "slow", horizon_days=200)
    with database.operator() as connection:
        connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": SCORED})
    hear(database, "slow", days=200)
    version = served(database, "slow", 0.1, horizon_days=200)
    scored(database, "slow", version=version, said=0.1, converted=0.1)
    assert look(database, "slow", SCORED + timedelta(days=199)).weeks == ()
    (week,) = look(database, "slow", SCORED + timedelta(days=200)).weeks
    assert week.quality.rows == LEADS


def test_inputs_that_moved_are_stored_and_told_and_roll_nothing_back(acme: Database) -> None:
    rows = pl.DataFrame(
        {
            "lead_id": [f"past-{number}" for number in range(500)],
            "snapshot_at": [SCORED - timedelta(days=100)] * 500,
            "label": [number % 10 == 0 for number in range(500)],
            "label_known_at": [SCORED - timedelta(days=50)] * 500,
            "features": pl.Series(
                [[float(number % 5)] + [0.0] * (FEATURES - 1) for number in range(500)],
                dtype=pl.List(pl.Float32),
            ),
        }
    )
    with acme.tenant("acme") as connection:
        saved = features.save(
            connection, "acme", rows, spec=SPEC.to_json(), as_of=SCORED, horizon_days=30,
            run_id="run",
        )  # fmt: skip
    version = served(acme, "acme", 0.1, feature_set=saved.feature_set)
    scored(acme, "acme", version=version, said=0.1, converted=0.1, visits=50.0)
    found = look(acme, "acme")
    assert (found.moved, found.action) == (["visits"], "nothing")
    with acme.tenant("acme") as connection:
        stored = connection.execute(
            select(input_drift.c.feature, input_drift.c.psi).where(input_drift.c.alarm)
        ).all()
        assert connection.scalar(select(func.count()).select_from(input_drift)) == FEATURES + 1
    assert [(name, psi > 1) for name, psi in stored] == [("visits", True)]


def test_the_weeks_and_the_newest_verdict_are_printed(acme: Database) -> None:
    console = Console(file=StringIO(), width=200)
    quality_report.quality(console, acme, "acme")
    only = served(acme, "acme", 0.3)
    scored(acme, "acme", version=only, said=0.3, converted=0.6)
    look(acme, "acme")
    quality_report.quality(console, acme, "acme")
    assert isinstance(console.file, StringIO)
    before, after = console.file.getvalue().split("\n", 1)
    assert before == "No scores of acme have matured: their horizon has not ended."
    monday = SCORED.date() - timedelta(days=SCORED.weekday())
    assert re.search(rf"{monday} +1 +2,000 +(59|6[01])\.\d% +30\.0%", after)
    assert re.search(r"version 1: log-loss 0\.\d+ over the newest [\d,]+ .*\(retraining\)", after)


def test_a_tenant_is_due_when_a_scoring_has_matured_since_the_last_look(acme: Database) -> None:
    version = served(acme, "acme", 0.1)
    scored(acme, "acme", version=version, said=0.1, converted=0.1)
    served(acme, "brio", 0.1)
    matured = SCORED + timedelta(days=30)
    assert model_monitoring.due(acme, now=matured - timedelta(seconds=1)) == []
    assert model_monitoring.due(acme, now=matured) == ["acme"]
    look(acme, "acme", matured)
    assert model_monitoring.due(acme, now=NOW) == []
    with acme.tenant("acme") as connection:
        assert connection.scalars(select(model_looks.c.action)).all() == ["nothing"]


def test_scores_that_say_half_of_what_happens_raise_an_alert_of_drift(acme: Database) -> None:
    """Also those of a model before the present one: trained every month, none serves until its own
    have matured."""
    version = served(acme, "acme", 0.1)
    scored(acme, "acme", version=version, said=0.1, converted=0.2)
    served(acme, "acme", 0.2)
    assert look(acme, "acme", SCORED + timedelta(days=29)).drifted.rows == 0
    assert look(acme, "acme").drifted.alarm
    assert open_kinds(acme, "acme") == ["model_drift"]
    look(acme, "acme", NOW + timedelta(days=60))
    assert open_kinds(acme, "acme") == []


def test_drift_is_told_of_the_first_score_a_lead_ever_had(acme: Database) -> None:
    """Of the last 60 days alone, it would be another score at each look."""
    version = served(acme, "acme", 0.1)
    for days, said in ((0, 0.1), (20, 0.2)):
        at = SCORED + timedelta(days=days)
        with acme.operator() as connection:
            connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": at})
        scored(acme, "acme", version=version, said=said, converted=0.1, at=at)
    assert look(acme, "acme", NOW + timedelta(days=10)).drifted.rows == LEADS
    # The window begins between the two.
    assert look(acme, "acme", NOW + timedelta(days=60)).drifted.rows == 0


def test_old_looks_are_forgotten_but_the_newest_and_those_that_did_something(
    acme: Database,
) -> None:
    version = served(acme, "acme", 0.3)
    scored(acme, "acme", version=version, said=0.3, converted=0.6)
    old = NOW - timedelta(days=100)
    for days, action in ((0, "nothing"), (1, "nothing"), (2, "retraining"), (3, "nothing")):
        with acme.tenant("acme") as connection:
            connection.execute(
                model_looks.insert().values(
                    tenant_id="acme", looked_at=old + timedelta(days=days), version=version,
                    action=action, sentence="", figures={},
                )
            )  # fmt: skip
    with acme.tenant("acme") as connection:
        retention.forget(connection, "acme", retention.Ages())
        left = connection.scalars(
            select(model_looks.c.looked_at).order_by(model_looks.c.looked_at)
        ).all()
    assert left == [old + timedelta(days=2), old + timedelta(days=3)]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def tick(database: Database, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    resources = {"warehouse": Warehouse(database_url=database.url)}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = model_watch(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


@pytest.fixture
def mlflow(mlflow_url: str, tmp_path: Path) -> MlflowTracking:
    return MlflowTracking(tracking_uri=mlflow_url, artifact_root=str(tmp_path))


def watched(database: Database, instance: dg.DagsterInstance, mlflow: MlflowTracking) -> bool:
    resources = {"warehouse": Warehouse(database_url=database.url), "mlflow": mlflow}
    return watch_models.execute_in_process(
        instance=instance, resources=resources, raise_on_error=False
    ).success


def test_the_sensor_asks_for_one_look_an_hour_while_scores_have_matured(
    acme: Database, instance: dg.DagsterInstance, mlflow: MlflowTracking
) -> None:
    assert isinstance(tick(acme, instance), dg.SkipReason)
    version = served(acme, "acme", 0.1)
    scored(acme, "acme", version=version, said=0.1, converted=0.1)
    asked = tick(acme, instance)
    assert isinstance(asked, dg.RunRequest)
    assert asked.run_key == f"{datetime.now(UTC):%Y-%m-%dT%H}"
    with acme.alone(model_monitoring.LOCK) as held:
        assert held is not None
        assert isinstance(tick(acme, instance), dg.SkipReason), "one is under way"
    assert watched(acme, instance, mlflow)
    assert isinstance(tick(acme, instance), dg.SkipReason)


def test_a_tenant_that_cannot_be_looked_at_fails_alone(
    acme: Database, instance: dg.DagsterInstance, mlflow: MlflowTracking
) -> None:
    for tenant_id in ("acme", "brio"):
        version = served(acme, tenant_id, 0.1)
        scored(acme, tenant_id, version=version, said=0.1, converted=0.1)
    with acme.tenant("acme") as connection:
        connection.execute(text("UPDATE ml.models SET artifact = 'tampered'"))
    assert not watched(acme, instance, mlflow)
    assert open_kinds(acme, "acme") == ["monitoring_failed"]
    records = instance.fetch_observations(lead_model.key, limit=10).records
    assert [record.partition_key for record in records] == ["brio"]
    told = records[0].asset_observation
    assert told is not None
    assert told.metadata["action"].value == "nothing"
    assert "data:image/png" in str(told.metadata["log-loss by week"].value)
    served(acme, "acme", 0.1)
    assert watched(acme, instance, mlflow)
    assert open_kinds(acme, "acme") == []
