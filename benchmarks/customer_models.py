"""Models of customers and deals on the simulator's tenants, beside the best possible there.

Churn: customers at a moment that the model was not shown, and whether they left in the 30 days
after it. The best possible knows each customer's rate of leaving, of which pain points and moods
are in no column; knowing the segment is the most that columns can tell. Value: deals that were open
at the end, whose expected amount the simulation knows. Segments: the adjusted Rand index against
the planted ones; k-means is told how many there are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from benchmarks.reporting import arguments, report, told
from examples.simulator import PROFILES, SimulatedCrm, simulate
from ml import churn, deal_training, features, kinds, metrics, scoring, segment_training, training
from ml.algorithm import Bools, Floats, Matrix
from ml.deal_candidates import Deals
from ml.spec import FeatureSpec

SEED = 7
HORIZON = 30
NOW = datetime(2026, 11, 1, tzinfo=UTC)
THEN = NOW - timedelta(days=HORIZON)
Row = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Tenant:
    """A simulated tenant, and its customers' interactions."""

    crm: SimulatedCrm
    interactions: pl.DataFrame

    @staticmethod
    def of(name: str, quick: bool) -> "Tenant":
        profile = PROFILES[name]
        if quick:
            profile = replace(profile, leads=profile.leads // 4, customers=profile.customers // 4)
        crm = simulate(profile, SEED, NOW)
        acts = crm.interactions.drop_nulls("customer_id")
        return Tenant(crm, acts.select("customer_id", "kind", "occurred_at", "known_at"))

    def present(self, at: datetime) -> pl.DataFrame:
        """The customers present at a time, as rows that features are built of, with churned_at."""
        there = (pl.col("created_at") < at) & (pl.col("churned_at").fill_null(NOW) >= at)
        return self.crm.customers.filter(there).select(
            pl.col("customer_id").alias("lead_id"),
            "created_at",
            pl.lit(at).cast(pl.Datetime("us", "UTC")).alias("as_of"),
            "attributes",
            "churned_at",
        )

    def matrix(self, spec: FeatureSpec, rows: pl.DataFrame) -> Matrix:
        return features.build(spec, rows, self.interactions.rename({"customer_id": "lead_id"}))


def churned(tenant: Tenant) -> Iterator[Row]:
    """Trained on what was known 30 days before the end, judged by what happened after."""
    customers = tenant.crm.customers
    known = customers.with_columns(
        churned_at=pl.when(pl.col("churned_at") < THEN).then("churned_at")
    ).filter(pl.col("created_at") < THEN)
    history = churn.history(
        known,
        customers.select("customer_id", "known_at", "attributes"),
        tenant.interactions.filter(pl.col("known_at") < THEN),
        as_of=THEN,
        horizon_days=HORIZON,
    )
    model = training.train(history, trained_at=THEN, horizon_days=HORIZON).model
    rows = tenant.present(THEN)
    label = rows["churned_at"].is_not_null().to_numpy()
    matrix = tenant.matrix(history.spec, rows)
    truth = rows.join(
        tenant.crm.truth.customers, left_on="lead_id", right_on="customer_id", how="left",
        maintain_order="left",
    ).with_columns(segment_per_day=pl.col("churn_per_day").mean().over("segment"))  # fmt: skip
    plain = lgb.LGBMClassifier(n_jobs=1, verbosity=-1, random_state=0)
    plain.fit(history.matrix, history.label)
    said = {
        "Galena": scoring.score(model, tenant.matrix(model.spec, rows)).probability,
        "LightGBM as it comes": np.asarray(plain.predict_proba(matrix))[:, 1],
        "base rate": np.full(len(rows), history.label.mean()),
        "knowing the segment": 1 - np.exp(-HORIZON * truth["segment_per_day"].to_numpy()),
        "best possible": 1 - np.exp(-HORIZON * truth["churn_per_day"].to_numpy()),
    }
    yield from (_churn_row(tenant.crm.profile.name, *one, label) for one in said.items())


def _churn_row(tenant: str, name: str, probability: Floats, label: Bools) -> Row:
    auc, loss = metrics.auc(label, probability), metrics.log_loss(label, probability)
    return (f"{tenant}, churn", name, f"{len(label):,}", f"AUC {auc:.3f}", f"log-loss {loss:.4f}")


def valued(tenant: Tenant) -> Iterator[Row]:
    crm = tenant.crm
    acts = crm.interactions.drop_nulls("lead_id").rename({"lead_id": "of"})
    begun = crm.deals.join(
        crm.leads.select("lead_id", "attributes", began="created_at"), on="lead_id"
    ).join(crm.truth.leads.select("lead_id", "expected_amount"), on="lead_id")
    rows = begun.select(
        pl.col("deal_id").alias("lead_id"),
        pl.col("began").alias("created_at"),
        (pl.col("created_at") + pl.duration(minutes=1)).alias("as_of"),
        "attributes", "amount", "won", "closed_at", "expected_amount", of="lead_id",
    )  # fmt: skip
    of_deals = rows.select("lead_id", "of").join(acts, on="of")
    won, still_open = rows.filter("won"), rows.filter(pl.col("won").is_null())
    names = acts["kind"].value_counts(sort=True)["kind"].to_list()
    spec = replace(features.infer(won.select("attributes"), names), subject="deal")
    deals = Deals(
        spec, features.build(spec, won, of_deals), won["amount"].to_numpy(),
        won["closed_at"].dt.replace_time_zone(None).to_numpy(), np.arange(len(won)),
    )  # fmt: skip
    trained = deal_training.train(deals, trained_at=NOW)
    matrix = features.build(spec, still_open, of_deals)
    plain = lgb.LGBMRegressor(n_jobs=1, verbosity=-1, random_state=0)
    plain.fit(deals.matrix, deals.amount)
    expected, label = still_open["expected_amount"].to_numpy(), f"{crm.profile.name}, value"
    for name, value in (
        ("Galena", kinds.predict(trained.model, matrix)["value"].to_numpy()),
        ("LightGBM as it comes", np.asarray(plain.predict(matrix))),
        ("mean of the won", np.full(len(matrix), deals.amount.mean())),
        ("median of the won", np.full(len(matrix), np.median(deals.amount))),
    ):
        away = np.abs(value - expected)
        yield (
            label, name, f"{len(matrix):,}", f"median error {np.median(away / expected):.1%}",
            f"mean error {away.sum() / expected.sum():.1%}",
        )  # fmt: skip
    found = trained.report
    if found.model is not None and found.median is not None:
        yield (
            label, "Galena, amounts of its windows", f"{found.judged:,}",
            f"median error {found.model.median_ape:.1%}", f"coverage {found.model.coverage:.1%}",
        )  # fmt: skip
        noise = np.exp(0.4 * np.random.default_rng(0).normal(size=100_000))
        possible = np.median(np.abs(np.exp(0.4**2 / 2) - noise) / noise)
        yield (label, "best possible there", "", f"median error {possible:.1%}", "")


def grouped(tenant: Tenant) -> Iterator[Row]:
    rows = tenant.present(NOW)
    spec = churn.spec_of(rows, tenant.interactions)
    matrix = tenant.matrix(spec, rows)
    trained = segment_training.train(spec, matrix, trained_at=NOW)
    planted = rows.join(
        tenant.crm.truth.customers, left_on="lead_id", right_on="customer_id", how="left",
        maintain_order="left",
    )["segment"].to_list()  # fmt: skip
    numeric = [i for i, column in enumerate(spec.columns) if column.kind == "numeric"]
    kmeans: Any = KMeans(len(set(planted)), n_init=10, random_state=0)
    plain = kmeans.fit_predict(StandardScaler().fit_transform(matrix[:, numeric]))
    label, count = f"{tenant.crm.profile.name}, segments", f"{len(matrix):,}"
    found = trained.model.assign(matrix).segment
    stable = trained.report.stability
    for name, group, beside in (
        ("Galena", found, f"{trained.report.segments} segments, stability {stable:.2f}"),
        ("k-means of the numbers", plain, f"told: {len(set(planted))} segments"),
    ):
        ari = adjusted_rand_score(planted, group)
        yield (label, name, count, f"ARI {ari:.3f}", beside)


def main() -> None:
    given = arguments(__doc__)
    rows: list[Row] = []
    for name in ("acme", "brio", "cielo"):
        with told(name):
            tenant = Tenant.of(name, given.quick)
            rows += [*churned(tenant), *valued(tenant), *grouped(tenant)]
    figures = {
        re.sub("[^a-z]+", "_", f"{row[0]} {kind}".lower()): float(figure.rstrip("%"))
        for row in rows
        if row[1] == "Galena"
        for kind, figure in [row[3].rsplit(" ", 1)]
    }
    headings = ("tenant, model", "", "rows", "", "")
    report("Customers and deals, on rows that no model had seen", headings, rows, figures, given)


if __name__ == "__main__":
    main()
