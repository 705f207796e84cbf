"""What the leakage audit's limits stand on: how well attributes alone rank outcomes, and the rest.

The bank's `duration`, known when a call is over, beside the strongest honest attribute of the
bank and of the simulated tenants; and how often the audit suspects what. No timings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.reporting import arguments, report
from examples import bank
from examples.simulator import PROFILES, simulate
from ml import features, labels, within_windows
from ml.leakage import audit
from ml.spec import FeatureSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled snapshots in the order of time."""

    spec: FeatureSpec
    matrix: NDArray[np.float32]
    label: NDArray[np.bool_]
    snapshot_at: NDArray[np.datetime64]

    def take(self, rows: slice | NDArray[np.intp]) -> "Rows":
        return Rows(self.spec, self.matrix[rows], self.label[rows], self.snapshot_at[rows])

    def suspects(self) -> list[str]:
        found = audit(self.spec, self.matrix, self.label, self.snapshot_at)
        return sorted({suspect.column for suspect in found})


def of_the_bank(*, duration: bool) -> Rows:
    """The bank's calls in file order, with the column that gives the outcome away or without."""
    calls, created_at = bank.calls(), bank.leads()["created_at"]
    known = calls.drop(["y"] if duration else ["y", "duration"]).with_columns(
        pl.col(pl.String).replace("unknown", None),
        pl.col("pdays").replace(bank.NEVER_CONTACTED, None),
    )
    leads = pl.DataFrame({"attributes": known.to_struct().struct.json_encode()}).with_columns(
        created_at=created_at, as_of=created_at
    )
    spec = features.infer(leads.select("attributes"), [])
    matrix = features.build(spec, leads, pl.DataFrame())
    label = (calls["y"] == "yes").to_numpy()
    return Rows(spec, matrix, label, created_at.dt.replace_time_zone(None).to_numpy())


def of_the_simulator(name: str) -> Rows:
    crm = simulate(PROFILES[name], 1, NOW)
    versions = pl.concat([crm.leads, crm.attribute_changes.select(crm.leads.columns)])
    rows = labels.snapshots(crm.leads, as_of=NOW).sort("snapshot_at", maintain_order=True)
    known = rows.join_asof(
        versions.select("lead_id", "known_at", "attributes").sort("known_at"),
        left_on="snapshot_at",
        right_on="known_at",
        by="lead_id",
        allow_exact_matches=False,
        check_sortedness=False,  # polars cannot, by lead; both are sorted above
    ).with_columns(as_of=pl.col("snapshot_at"))
    interactions = crm.interactions.drop_nulls("lead_id")
    spec = features.infer(known.select("attributes"), interactions["kind"].unique().to_list())
    matrix = features.build(spec, known, interactions)
    times = rows["snapshot_at"].dt.replace_time_zone(None).to_numpy()
    return Rows(spec, matrix, rows["label"].to_numpy(), times)


def strongest(rows: Rows) -> tuple[str, float, float]:
    """The attribute of the greatest AUC, its AUC, and that of everything else together."""
    window = within_windows.windows(rows.label)
    alone = [
        within_windows.alone(rows.matrix[:, i], len(feature.categories), rows.label, window)
        for i, feature in enumerate(rows.spec.features)
    ]
    areas = [within_windows.auc(rows.label, window, said)[0] for said in alone]
    best = int(np.argmax(areas[: len(rows.spec.columns)]))
    rest = within_windows.together([*alone[:best], *alone[best + 1 :]], rows.label, window)
    rest_area, _ = within_windows.auc(rows.label, window, rest)
    return rows.spec.columns[best].name, areas[best], rest_area


def stretches(rows: Rows, length: int, every: int) -> Iterator[Rows]:
    for start in range(0, len(rows.label) - length + 1, every):
        yield rows.take(slice(start, start + length))


def at_random(rows: Rows, size: int, draws: int) -> list[Rows]:
    random = np.random.default_rng(0)
    everything = len(rows.label)
    return [
        rows.take(np.sort(random.choice(everything, size, replace=False))) for _ in range(draws)
    ]


def line(name: str, parts: list[Rows]) -> tuple[str, ...]:
    """The range of the figures over parts of one kind, and what was suspected in how many."""
    found = [strongest(rows) for rows in parts]
    most, alone, rest = zip(*found, strict=True)
    suspected = [", ".join(rows.suspects()) or "none" for rows in parts]
    counts = [f"{name} in {suspected.count(name)}" for name in sorted(set(suspected))]
    return (
        name,
        ", ".join(sorted(set(most), key=most.count, reverse=True)[:2]),
        f"{min(alone):.2f} to {max(alone):.2f}",
        f"{min(rest):.2f} to {max(rest):.2f}",
        "; ".join(counts),
    )


def main() -> None:
    given = arguments(__doc__)
    every = 9_000 if given.quick else 1_000
    rows = []
    for duration in (True, False):
        calls = of_the_bank(duration=duration)
        words = "bank with duration" if duration else "bank without"
        draws = 4 if given.quick else 20
        for name, parts in (
            (words, [calls]),
            (f"{words}, stretches of 20,000", list(stretches(calls, 20_000, every))),
            (f"{words}, stretches of 4,000", list(stretches(calls, 4_000, every))),
            (f"{words}, 4,000 at random", at_random(calls, 4_000, draws)),
            (f"{words}, 1,000 at random", at_random(calls, 1_000, draws)),
        ):
            rows.append(line(name, parts))
    rows += [line(name, [of_the_simulator(name)]) for name in PROFILES]
    headings = ("", "strongest attribute", "its AUC", "AUC of the rest", "suspected")
    report("The leakage audit", headings, rows, {}, given)


if __name__ == "__main__":
    main()
