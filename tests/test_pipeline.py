"""The assets end to end on a simulated tenant: real PostgreSQL, MLflow and Dagster."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pytest
from sqlalchemy import text

from assets.lead_scores import lead_scores
from examples.simulator.crm import simulate
from examples.simulator.profiles import FJORD
from ml import model as documents
from ml import reasons, scoring
from orchestration.definitions import build_defs
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse
from tests.conftest import in_database
from warehouse import crm, models, scores, tenants
from warehouse.database import Database
from warehouse.embedded import Urls

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Scored:
    """Two tenants after their first run: `busy` has outcomes enough, `quiet` has not."""

    urls: Urls
    database: Database
    instance: dg.DagsterInstance
    runs: dict[str, dg.ExecuteInProcessResult]

    def metadata(self, tenant_id: str, asset: str) -> dict[str, Any]:
        events = self.runs[tenant_id].asset_materializations_for_node(asset)
        return {name: value.value for name, value in events[0].metadata.items()}


@pytest.fixture(scope="module")
def scored(
    server: Urls,
    new_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scored]:
    urls = in_database(server, new_database("template"))
    database = Database(urls.app)
    tracking = MlflowTracking(
        tracking_uri=in_database(server, new_database("template0")).mlflow,
        artifact_root=str(tmp_path_factory.mktemp("mlflow")),
    )
    defs = build_defs(resources={"warehouse": Warehouse(database_url=urls.app), "mlflow": tracking})
    job = defs.resolve_job_def("score_tenant")
    with dg.DagsterInstance.ephemeral() as instance:
        runs = {}
        for tenant_id, leads in (("busy", 4_000), ("quiet", 60)):
            _create(database, tenant_id, leads)
            instance.add_dynamic_partitions("tenants", [tenant_id])
            runs[tenant_id] = job.execute_in_process(instance=instance, partition_key=tenant_id)
        yield Scored(urls, database, instance, runs)
    database.close()


def _create(database: Database, tenant_id: str, leads: int) -> None:
    simulated = simulate(replace(FJORD, name=tenant_id, leads=leads, customers=10), 3, NOW)
    tenants.add(database, tenant_id)
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", simulated.leads)
        crm.upsert(connection, tenant_id, "interactions", simulated.interactions)


def _rows(scored: Scored, tenant_id: str, query: str) -> list[Any]:
    with scored.database.tenant(tenant_id) as connection:
        return list(connection.execute(text(query)))


@pytest.mark.parametrize("tenant_id", ["busy", "quiet"])
def test_every_open_lead_and_no_other_is_scored(scored: Scored, tenant_id: str) -> None:
    served = _rows(scored, tenant_id, "SELECT lead_id FROM serving.lead_scores_v1 ORDER BY 1")
    open_leads = _rows(
        scored,
        tenant_id,
        "SELECT lead_id FROM crm.leads WHERE converted_at IS NULL AND closed_at IS NULL ORDER BY 1",
    )
    assert served == open_leads != []


@pytest.mark.parametrize("tenant_id", ["busy", "quiet"])
def test_reasons_add_up_to_the_served_probability(scored: Scored, tenant_id: str) -> None:
    rows = _rows(
        scored,
        tenant_id,
        "SELECT probability, base_log_odds, reasoning, score FROM serving.lead_scores_v1",
    )
    for probability, base, reasoning, score in rows:
        log_odds = math.log(probability / (1 - probability))
        total = base + sum(reason["weight"] for reason in reasoning)
        assert total == pytest.approx(log_odds, abs=1e-9)
        assert score == round(100 * probability)


def test_a_tenant_with_outcomes_has_reasons_and_one_without_says_so(scored: Scored) -> None:
    query = "SELECT evidence, reasoning FROM serving.lead_scores_v1"
    busy, quiet = _rows(scored, "busy", query), _rows(scored, "quiet", query)
    assert all(evidence["enough"] and len(reasoning) > 3 for evidence, reasoning in busy)
    assert all(not evidence["enough"] and reasoning == [] for evidence, reasoning in quiet)
    assert quiet[0].evidence["statement"].startswith("not enough evidence")


def test_a_score_leads_to_its_model_its_run_and_its_inputs(scored: Scored) -> None:
    run_id = scored.runs["busy"].run_id
    rows = _rows(
        scored,
        "busy",
        "SELECT s.lead_id, s.probability, s.run_id AS scored_by, m.run_id AS trained_by,"
        " m.sha256, m.mlflow_run_id, f.sha256 AS data, h.inputs"
        " FROM serving.lead_scores_v1 s"
        " JOIN serving.lead_models_v1 m ON m.version = s.model_version"
        " JOIN ml.feature_sets f ON f.feature_set = m.feature_set"
        " JOIN ml.lead_score_history h USING (lead_id, calculated_at)",
    )
    with scored.database.tenant("busy") as connection:
        champion = models.champion(connection, "busy")
        assert champion is not None
        artifact = models.artifact(connection, "busy", champion.version)
    assert {(row.scored_by, row.trained_by) for row in rows} == {(run_id, run_id)}
    assert {row.sha256 for row in rows} == {hashlib.sha256(artifact).hexdigest()}
    assert scored.metadata("busy", "lead_features")["sha256"] == rows[0].data
    assert scored.metadata("busy", "lead_model")["mlflow run id"] == rows[0].mlflow_run_id
    inputs = np.array([row.inputs for row in rows], dtype=np.float32)
    again = scoring.score(documents.loads(artifact), inputs)
    assert again.probability.tolist() == [row.probability for row in rows]


def test_the_view_words_reasons_as_ml_reasons_does(scored: Scored) -> None:
    with scored.database.tenant("busy") as connection:
        champion = models.champion(connection, "busy")
        assert champion is not None
        loaded = documents.loads(models.artifact(connection, "busy", champion.version))
    rows = _rows(
        scored,
        "busy",
        "SELECT s.reasoning, h.contributions, h.inputs FROM serving.lead_scores_v1 s"
        " JOIN ml.lead_score_history h USING (lead_id, calculated_at)",
    )
    for reasoning, contributions, inputs in rows:
        worded = reasons.strongest(
            loaded,
            np.array(contributions, np.float32),
            np.array(inputs, np.float32),
            k=len(contributions),
        )
        assert [vars(reason) for reason in worded] == reasoning


def test_percentiles_rank_by_probability(scored: Scored) -> None:
    query = "SELECT probability, percentile FROM serving.lead_scores_v1 ORDER BY probability"
    rows = _rows(scored, "busy", query)
    probability = np.array([row.probability for row in rows])
    lower = np.searchsorted(probability, probability, side="left")
    not_higher = np.searchsorted(probability, probability, side="right")
    expected = 50 * (lower + not_higher) / len(rows)
    assert [row.percentile for row in rows] == pytest.approx(expected.tolist(), abs=0.2)
    assert {row.percentile for row in _rows(scored, "quiet", query)} == {50}, "all tie"


def test_hold_out_figures_are_stored_and_shown(scored: Scored) -> None:
    shown = scored.metadata("busy", "lead_model")
    (metrics,) = _rows(scored, "busy", "SELECT metrics FROM serving.lead_models_v1")[0]
    stored = metrics["hold_out"]["model"]
    assert stored["auc"] == shown["hold-out auc"]
    assert stored["log_loss"] < metrics["hold_out"]["base_rate"]["log_loss"]
    assert shown["calibration.png"].startswith("![plot](data:image/png;base64,")
    assert "lacking" in scored.metadata("quiet", "lead_model")


def test_rescoring_replaces_the_scores_and_keeps_the_history(scored: Scored) -> None:
    query = "SELECT count(*), count(DISTINCT calculated_at) FROM "
    before = _rows(scored, "quiet", query + "ml.lead_score_history")[0]
    lost = "UPDATE crm.leads SET closed_at = now() WHERE lead_id ="
    with scored.database.tenant("quiet") as connection:
        connection.execute(text(f"{lost} (SELECT min(lead_id) FROM ml.lead_scores)"))
    _materialize_scores(scored, "quiet")
    scores = _rows(scored, "quiet", query + "ml.lead_scores")[0]
    after = _rows(scored, "quiet", query + "ml.lead_score_history")[0]
    assert scores == (before[0] - 1, 1)
    assert after == (before[0] + scores[0], 2)


def test_a_scoring_without_a_model_serves_the_base_rate(scored: Scored) -> None:
    _create(scored.database, "new", 300)
    scored.instance.add_dynamic_partitions("tenants", ["new"])
    _materialize_scores(scored, "new")
    with scored.database.tenant("new") as connection:
        served = scores.top(connection, "new", 1_000)
        counts = crm.counts(connection, "new")
    assert len(served) == counts["open_leads"] > 0
    assert {score.probability for score in served} == {served[0].probability}
    # Jeffreys' mean of the newest labelled moments: near what its CRM says of ended leads.
    converted = counts["converted_leads"] / (counts["leads"] - counts["open_leads"])
    assert served[0].probability == pytest.approx(converted, rel=1)
    assert served[0].evidence["statement"].startswith("not enough evidence")


def _materialize_scores(scored: Scored, tenant_id: str) -> None:
    dg.materialize(
        [lead_scores],
        instance=scored.instance,
        partition_key=tenant_id,
        resources={"warehouse": Warehouse(database_url=scored.urls.app)},
    )
