"""What model_quality learns from: rows of the bank's calls, or a simulated tenant, as a history."""

import polars as pl

from benchmarks import leakage
from examples import bank
from examples.simulator import PROFILES, simulate
from ml import features, labels
from ml.algorithm import Matrix
from ml.history import History
from ml.spec import FeatureSpec


def of_the_bank() -> pl.DataFrame:
    """Every call in file order, one snapshot each: lead_id, created_at, snapshot_at, as_of, label,
    label_known_at, attributes; without `duration`."""
    return bank.leads().select(
        "lead_id",
        "created_at",
        "attributes",
        bank.calls()["y"].eq("yes").alias("label"),
        snapshot_at="created_at",
        as_of="created_at",
        label_known_at=pl.col("created_at") + bank.OUTCOME_AFTER,
    )


def history(rows: pl.DataFrame) -> History:
    """The product's own features of these calls, inferred from them alone."""
    spec = features.infer(rows.select("attributes"), [])
    return History.of(spec, rows.with_columns(features=pl.Series(matrix(spec, rows))))


def matrix(spec: FeatureSpec, rows: pl.DataFrame) -> Matrix:
    return features.build(spec, rows, pl.DataFrame())


def of_the_simulator(name: str) -> History:
    """A simulated tenant's labelled snapshots."""
    found = leakage.of_the_simulator(name)
    leads = simulate(PROFILES[name], 1, leakage.NOW).leads
    # In the order of the matrix's rows.
    rows = labels.snapshots(leads, as_of=leakage.NOW).sort("snapshot_at", maintain_order=True)
    return History.of(found.spec, rows.with_columns(features=pl.Series(found.matrix)))
