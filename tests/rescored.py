"""What must hold of an installation's scores after every fault, over the whole database."""

from collections.abc import Callable, Collection
from datetime import timedelta

import numpy as np
import polars as pl
from dagster import AssetRecordsFilter

from assets.lead_scores import lead_scores
from ml import features
from ml.interactions import LOOKBACK_DAYS
from orchestration import runs
from tests.installations import FIRST, Changing, await_true, lead_ids
from tests.test_scoring import MODEL
from warehouse import crm


def assert_goes_on(
    changing: Changing,
    *,
    rescore: Callable[[], None] = lambda: None,
    but: Collection[tuple[str, str]] = (),
    told_again: bool = False,
) -> None:
    """What must hold after every fault, over the whole database.

    Within PATIENCE_SECONDS no change waits; then one more change of each tenant is scored, too,
    with nobody's help, and Dagster has been told of everything. Each open lead has one score,
    calculated after its last change, from what its records say now; no other lead has one. The
    history has exactly one row for each score that was ever served.

    Dagster's instance is the one that the environment names. rescore: does what a sensor would,
    where there is none.
    but: leads that cannot be scored. told_again: a run ended between telling Dagster and noting
    it, so that Dagster may count some rescorings twice; otherwise it counts each once.
    """
    _await_scores(changing, rescore)
    for tenant_id in changing.tenant_ids:
        changing.touch(tenant_id, lead_ids(1))
    _await_scores(changing, rescore)
    await_true(
        "Dagster is told",
        lambda: not changing.ask("SELECT FROM ml.rescorings WHERE reported_at IS NULL"),
    )
    for what, query in _VIOLATIONS.items():
        found = [row for row in changing.ask(query) if row[:2] not in but]
        assert found == [], f"{what}: {found[:5]}"
    _assert_newest(changing, but)
    for tenant_id in changing.tenant_ids:
        _assert_from_records_of_now(changing, tenant_id, but)
    for tenant_id, *rescored in changing.ask(_RESCORED):
        told = told_of(tenant_id)
        if told_again:
            assert all(map(int.__ge__, told, rescored)), (tenant_id, told, rescored)
        else:
            assert told == rescored, tenant_id


_RESCORED = (
    "SELECT tenant_id, sum(leads)::int, sum(removed)::int, sum(changes)::int"
    " FROM ml.rescorings GROUP BY 1"
)


def told_of(tenant_id: str) -> list[int]:
    """What Dagster's materializations of the tenant's changed leads add up to: leads rescored,
    leads no longer open, changes."""
    with runs.instance() as instance:
        records = instance.fetch_materializations(
            AssetRecordsFilter(lead_scores.key, asset_partitions=[tenant_id]), limit=10_000
        ).records
    told = [0, 0, 0]
    for record in records:
        assert record.asset_materialization is not None
        metadata = record.asset_materialization.metadata
        for place, name in enumerate(("leads rescored", "leads no longer open", "changes")):
            told[place] += int(str(metadata[name].value))
    return told


def _await_scores(changing: Changing, rescore: Callable[[], None]) -> None:
    rescore()
    await_true("no change waits", lambda: not changing.ask("SELECT FROM crm.rescore_queue"))


_VIOLATIONS = {
    "open leads without a score": (
        "SELECT tenant_id, lead_id FROM crm.leads WHERE converted_at IS NULL"
        " AND closed_at IS NULL EXCEPT SELECT tenant_id, lead_id FROM ml.lead_scores"
    ),
    "scores of leads that are closed or gone": (
        "SELECT tenant_id, lead_id FROM ml.lead_scores EXCEPT SELECT tenant_id, lead_id"
        " FROM crm.leads WHERE converted_at IS NULL AND closed_at IS NULL"
    ),
    "scores that are not the newest row of their history": (
        "SELECT tenant_id, lead_id, s.calculated_at, h.newest, h.same FROM ml.lead_scores s"
        " LEFT JOIN LATERAL (SELECT max(calculated_at) AS newest,"
        "  count(*) FILTER (WHERE calculated_at = s.calculated_at"
        "   AND probability = s.probability) AS same FROM ml.lead_score_history h"
        "  WHERE (h.tenant_id, h.lead_id) = (s.tenant_id, s.lead_id)) h ON true"
        " WHERE h.newest IS DISTINCT FROM s.calculated_at OR h.same <> 1"
    ),
    "transactions with more or fewer rows of history than scores": (
        "SELECT tenant_id, run_id, at, h.leads, r.leads FROM"
        " (SELECT tenant_id, run_id, calculated_at AS at, count(*) AS leads"
        f"  FROM ml.lead_score_history WHERE run_id <> '{FIRST}' GROUP BY 1, 2, 3) h"
        " FULL JOIN (SELECT tenant_id, run_id, scored_at AS at, sum(leads) AS leads"
        "  FROM ml.rescorings GROUP BY 1, 2, 3 HAVING sum(leads) > 0) r"
        " USING (tenant_id, run_id, at) WHERE h.leads IS DISTINCT FROM r.leads"
    ),
}


def _assert_newest(changing: Changing, but: Collection[tuple[str, str]]) -> None:
    found = changing.ask("SELECT tenant_id, lead_id, calculated_at FROM ml.lead_scores")
    for tenant_id, lead_id, calculated_at in found:
        changed_at = changing.changed_at.get((tenant_id, lead_id))
        if changed_at is not None and (tenant_id, lead_id) not in but:
            assert calculated_at > changed_at, f"{lead_id} of {tenant_id} has an older score"


def _assert_from_records_of_now(
    changing: Changing, tenant_id: str, but: Collection[tuple[str, str]]
) -> None:
    """The stored inputs are those that the lead's records have at the score's time: a change that
    was lost would make the difference."""
    served = [
        row
        for row in changing.ask(
            "SELECT tenant_id, lead_id, calculated_at, inputs FROM ml.lead_scores"
            " JOIN ml.lead_score_history USING (tenant_id, lead_id, calculated_at)"
            " WHERE tenant_id = :tenant_id ORDER BY lead_id",
            tenant_id=tenant_id,
        )
        if row[:2] not in but
    ]
    times = {lead_id: calculated_at for _, lead_id, calculated_at, _ in served}
    oldest = min(times.values()) - timedelta(days=LOOKBACK_DAYS)
    with changing.everything() as connection:
        leads, interactions = crm.changed_leads(connection, tenant_id, list(times), oldest)
    as_of = pl.Series(
        [times[lead_id] for lead_id in leads["lead_id"]], dtype=pl.Datetime("us", "UTC")
    )
    expected = features.build(MODEL.spec, leads.with_columns(as_of=as_of), interactions)
    stored = np.array([row[3] for row in served], np.float32)
    assert leads["lead_id"].to_list() == [row[1] for row in served]
    np.testing.assert_array_equal(stored, expected)
