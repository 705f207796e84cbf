"""The labelled snapshots that a training learns from, in order of time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from ml.algorithm import Bools, Matrix, Sample
from ml.settings import Direction
from ml.spec import Dropped, FeatureSpec
from ml.windows import Rows, Times


@dataclass(frozen=True, eq=False)
class History:
    """Leads at past moments, and whether they converted soon after.

    lead: (n,) integer codes: rows of one lead share one, and are not independent of each other.
    matrix: float32 (n, features of spec), as ml.features.build makes it; n may be 0.
    label, snapshot_at, label_known_at: (n,), as ml.labels.snapshots gives them; datetime64, UTC,
        snapshot_at ascending.
    """

    spec: FeatureSpec
    lead: Rows
    matrix: Matrix
    label: Bools
    snapshot_at: Times
    label_known_at: Times

    @staticmethod
    def of(spec: FeatureSpec, rows: pl.DataFrame) -> "History":
        """From lead_id, snapshot_at, label, label_known_at and features (a list, or an array, of
        the spec's features), in any order."""
        ordered = rows.sort("snapshot_at", "lead_id")
        width = len(spec.features)
        values = ordered["features"].explode().to_numpy() if rows.height else np.empty(0)
        return History(
            spec,
            (ordered["lead_id"].rank("dense") - 1).to_numpy().astype(np.intp),
            np.asarray(values, dtype=np.float32).reshape(rows.height, width),
            ordered["label"].to_numpy().astype(np.bool_),
            ordered["snapshot_at"].dt.replace_time_zone(None).to_numpy(),
            ordered["label_known_at"].dt.replace_time_zone(None).to_numpy(),
        )

    def __post_init__(self) -> None:
        rows = len(self.label)
        if self.matrix.shape != (rows, len(self.spec.features)):
            raise ValueError(
                f"matrix has shape {self.matrix.shape}, {rows} labels and the spec make "
                f"({rows}, {len(self.spec.features)}): build it from the labelled snapshots"
            )
        lengths = [len(self.lead), len(self.snapshot_at), len(self.label_known_at)]
        if lengths != [rows] * 3:
            raise ValueError(
                f"lead, snapshot_at and label_known_at have {lengths} rows, label {rows}: "
                "take them from one frame"
            )
        if (np.diff(self.snapshot_at) < np.timedelta64(0)).any():
            raise ValueError("snapshot_at goes back in time: sort the rows, or use History.of")

    def known_by(self, trained_at: datetime) -> None:
        """Raises ValueError where a label was not yet known at trained_at."""
        now = np.datetime64(trained_at.astimezone(UTC).replace(tzinfo=None), "us")
        late = np.flatnonzero(self.label_known_at > now)
        if len(late):
            raise ValueError(
                f"label_known_at: {self.label_known_at[late[0]]} in row {late[0]} is after "
                f"trained_at ({now}); leave out snapshots whose outcome was still open"
            )

    def without(self, reasons: dict[str, str]) -> "History":
        """The same without these attributes, each with the reason that the spec then gives."""
        kept = [i for i, column in enumerate(self.spec.columns) if column.name not in reasons]
        others = range(len(self.spec.columns), len(self.spec.features))
        named = {column.name for column in self.spec.columns} & reasons.keys()
        spec = replace(
            self.spec,
            columns=tuple(self.spec.columns[i] for i in kept),
            dropped=(
                *self.spec.dropped,
                *(Dropped(name, reasons[name]) for name in sorted(named)),
            ),
        )
        return replace(self, spec=spec, matrix=self.matrix[:, [*kept, *others]])

    def sample(self, rows: Rows, directions: Mapping[str, Direction]) -> Sample:
        """These rows to learn from. directions: of attributes; those there are not are left out."""
        sign = {"increasing": 1, "decreasing": -1}
        names = [column.name for column in self.spec.columns]
        monotone = tuple(sign[directions[name]] if name in directions else 0 for name in names)
        free = (0,) * (len(self.spec.features) - len(names))
        return Sample(self.spec, self.matrix[rows], self.label[rows], monotone + free)

    def converted_and_others(self, rows: Rows) -> tuple[int, int]:
        """How many of these rows converted, and how many did not."""
        converted = int(self.label[rows].sum())
        return converted, len(rows) - converted

    def all_rows(self) -> Rows:
        return np.arange(len(self.label))
