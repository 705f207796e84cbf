"""The sum of tables that serves: a LightGBM booster of depth-2 trees, compiled once.

A tree of depth 2 asks about at most two columns on any branch, so the whole booster is a sum of
step functions of one and of two columns, and the Shapley value of every column can be written
down per bin (ml.games): a row's contributions cost one look-up per pair of columns, not a walk per
tree.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml import games
from ml.algorithm import Floats, Matrix
from ml.bins import Bins, CodeBins, NumberBins
from ml.table_layout import Layout

# What the loops over one block touch stays in the processor's cache; a smaller one calls more.
BLOCK_ROWS = 32_768
# Rows that are looked up in all tables at once: 20 of them in 290 tables in 0.3 ms instead of 2.4,
# for a call costs a microsecond; of more rows, what it looks up no longer stays in the cache.
_FEW_ROWS = 500

_GROUPS, _SHARES = "<u2", "<f8"


@dataclass(frozen=True, eq=False)
class Tables:
    """Log-odds as a base plus a sum of look-ups, in which each column's share is known exactly.

    Few of a column's thresholds matter to any one pair, so most rows and columns of a table repeat:
    each is kept as its distinct ones alone. Of 290 tables these are 0.2 MB instead of 3.

    features: number of columns of the matrices it takes.
    base: what a row has before anything is known of it, in log-odds: the mean over the rows
        the booster was trained on.
    bins: how the values of a column are binned, for every column that occurs in a table.
    columns: of each table (a,), or (a, b), a < b.
    groups: uint16; of table after table and column after column, for each bin of the column the
        position that it has among the table's distinct rows, of the second column its distinct
        columns.
    shares: of table after table its cells, row after row; of each cell the share of a, or those of
        a and of b.
    """

    features: int
    base: float
    bins: Mapping[int, Bins]
    columns: Sequence[tuple[int, ...]]
    groups: NDArray[np.uint16]
    shares: Floats

    @staticmethod
    def constant(features: int, base: float) -> "Tables":
        """The tables of a model that knows nothing but a base rate, given in log-odds."""
        return Tables(features, base, {}, (), np.empty(0, np.uint16), np.empty(0))

    @staticmethod
    def of(
        features: int,
        base: float,
        bins: Mapping[int, Bins],
        tables: Mapping[tuple[int, ...], Floats],
    ) -> "Tables":
        """The sum of tables that have a cell for each bin: per column (a,) its shares, shape (bins
        of a, 1), per pair (a, b), a < b, those of a and of b, shape (bins of a, bins of b, 2)."""
        for columns, shares in tables.items():
            expected = (*(bins[column].size for column in columns), len(columns))
            if shares.shape != expected:
                raise ValueError(
                    f"the table of columns {columns} has shape {shares.shape}, "
                    f"their bins make it {expected}"
                )
        folded = [_folded(shares) for shares in tables.values()]
        groups = _positions(chain.from_iterable(groups for groups, _ in folded))
        shares = np.concatenate([np.empty(0), *(shares.ravel() for _, shares in folded)])
        return Tables(features, base, bins, tuple(tables), groups, shares)

    @staticmethod
    def compile(dump: Mapping[str, Any]) -> "Tables":
        """The tables of a trained booster, lightgbm.Booster.dump_model().

        The base and the contributions are those of predict(pred_contrib=True), to rounding.
        Where LightGBM averages its trees (boosting "rf") they are divided by the number of
        trees, which predict() does too, but predict(raw_score=True) and pred_contrib do not.

        Raises ValueError for what tables of one and two columns cannot hold: see ml.games.
        """
        compiled = Tables.of(dump["max_feature_idx"] + 1, *games.summed(dump))
        if dump["average_output"]:
            return compiled.scaled(1 / len(dump["tree_info"]), 0.0)
        return compiled

    def contributions(self, matrix: Matrix) -> Floats:
        """The Shapley value of every feature for every row, in log-odds, (rows, features).

        matrix: float32 (rows, features), NaN for missing, categories as integer codes.
        """
        self._refuse_other_than_own(matrix)
        if len(matrix) <= _FEW_ROWS:
            return self._shares_of_few(matrix).T
        totals = np.zeros((self.features, len(matrix)))
        for start in range(0, len(matrix), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            self._add_shares(matrix[rows], totals[:, rows])
        return totals.T

    def raw(self, matrix: Matrix) -> Floats:
        """Log-odds of every row: the base plus the row's contributions."""
        total: Floats = self.base + self.contributions(matrix).sum(axis=1)
        return total

    def scaled(self, slope: float, intercept: float) -> "Tables":
        """The tables of slope * log-odds + intercept, as a calibration asks for."""
        return replace(self, base=slope * self.base + intercept, shares=slope * self.shares)

    def to_json(self) -> dict[str, Any]:
        """A document that any language can evaluate; floats are exact.

        groups and shares are in base64, the one as little-endian uint16, the other as little-endian
        float64: a number of 19,000 that is written in decimals takes twice the bytes, and a list
        within lists five times the time to read.
        """
        return {
            "kind": "packed_tables",
            "features": self.features,
            "base": self.base,
            "bins": [
                {"column": column, "codes": bins.codes}
                if isinstance(bins, CodeBins)
                else {"column": column, "edges": bins.edges.tolist()}
                for column, bins in self.bins.items()
            ],
            "columns": [list(columns) for columns in self.columns],
            "groups": b64encode(self.groups.astype(_GROUPS).tobytes()).decode(),
            "shares": b64encode(self.shares.astype(_SHARES).tobytes()).decode(),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Tables":
        """The tables that to_json wrote."""
        shares = np.frombuffer(b64decode(document["shares"], validate=True), _SHARES)
        if not np.isfinite(shares).all():
            raise ValueError("the shares are not all finite numbers")
        return Tables(
            document["features"],
            document["base"],
            _bins(document["bins"]),
            [tuple(columns) for columns in document["columns"]],
            np.frombuffer(b64decode(document["groups"], validate=True), _GROUPS),
            shares,
        )

    @staticmethod
    def from_former_json(document: Mapping[str, Any]) -> "Tables":
        """The tables as former releases wrote them: each with its columns, its groups by column and
        its shares as lists within lists."""
        tables = document["tables"]
        columns = [tuple(table["columns"]) for table in tables]
        # Of a pair rows of cells of two shares, of a column cells of one.
        cells = chain.from_iterable(
            chain.from_iterable(table["shares"]) if len(table["columns"]) == 2 else table["shares"]
            for table in tables
        )
        return Tables(
            document["features"],
            document["base"],
            _bins(document["bins"]),
            columns,
            _positions(chain.from_iterable(table["groups"] for table in tables)),
            np.array([*chain.from_iterable(cells)], np.float64),
        )

    def __post_init__(self) -> None:
        expected = self._layout.shares.sum()
        if expected != len(self.shares):
            raise ValueError(
                f"the tables have {len(self.shares)} shares, their groups make it {expected}"
            )

    def _refuse_other_than_own(self, matrix: Matrix) -> None:
        if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape[1] != self.features:
            raise ValueError(
                f"matrix is {matrix.dtype} of shape {matrix.shape}, the model takes float32 of "
                f"shape (rows, {self.features}): build it with the model's own spec"
            )

    @cached_property
    def _layout(self) -> Layout:
        return Layout.of(self.bins, self.columns, self.groups)

    def _bins_of(self, matrix: Matrix) -> Iterator[tuple[int, NDArray[np.integer[Any]]]]:
        for column, bins in self.bins.items():
            yield column, bins.of(np.ascontiguousarray(matrix[:, column]))

    def _shares_of_few(self, matrix: Matrix) -> Floats:
        """The shares of rows, (features, rows), looked up in all tables at once, and added up in
        the order of _add_shares, for the same bits."""
        bins = np.zeros((self.features, len(matrix)), np.intp)
        for column, found in self._bins_of(matrix):
            bins[column] = found
        place = self._layout
        table, position, columns = place.shared
        # The position among the distinct rows, or columns, of each table and row of the matrix.
        among = np.zeros((2, len(self.columns), len(matrix)), np.intp)
        among[position, table] = self.groups.take(
            place.groups_at[table, position][:, None] + bins[columns]
        )
        cells = among[0] * place.distinct[:, 1:] + among[1]
        begins = place.shares_at[:, None] + cells * place.cell[:, None]
        found = self.shares.take(begins[table] + position[:, None])
        totals = np.zeros(bins.shape)
        into = columns[:, None] * len(matrix) + np.arange(len(matrix))
        np.add.at(totals.reshape(-1), into.ravel(), found.ravel())
        return totals

    def _add_shares(self, block: Matrix, totals: Floats) -> None:
        """Add what the tables say of a block of rows to totals, shape (features, rows)."""
        bins = {column: found.astype(self._cell_type) for column, found in self._bins_of(block)}
        for columns, shares in zip(self.columns, self._unfolded(), strict=True):
            cells = bins[columns[0]]
            if len(columns) == 2:
                cells = cells * shares.shape[1]
                cells += bins[columns[1]]
            found = shares.reshape(-1, len(columns)).take(cells, axis=0)
            for position, column in enumerate(columns):
                totals[column] += found[:, position]

    def _unfolded(self) -> Iterator[Floats]:
        """Each table with a cell for each bin, as of() takes them."""
        for own, groups, shape in self._layout.parts():
            shares = self.shares[own].reshape(shape)
            for axis, bins in enumerate(groups):
                shares = shares.take(self.groups[bins], axis=axis)
            yield shares

    @cached_property
    def _cell_type(self) -> np.dtype[Any]:
        """The smallest unsigned integer that counts the bins of any of the tables."""
        cells = np.maximum(self._layout.bins, 1).prod(axis=1)
        return np.min_scalar_type(int(cells.max(initial=0)))


def _bins(document: Sequence[Mapping[str, Any]]) -> dict[int, Bins]:
    return {
        entry["column"]: CodeBins(entry["codes"])
        if "codes" in entry
        else NumberBins(np.array(entry["edges"], dtype=np.float64))
        for entry in document
    }


def _positions(groups: Iterable[Sequence[int]]) -> NDArray[np.uint16]:
    """Raises ValueError for a column with more distinct rows than 65,536."""
    try:
        return np.array([*chain.from_iterable(groups)], np.uint16)
    except OverflowError as error:
        raise ValueError(f"the groups of a column: {error}") from error


def _folded(shares: Floats) -> tuple[list[list[int]], Floats]:
    """Which of its distinct slices along each axis each bin has, and the table of these alone."""
    groups = []
    for axis in range(shares.ndim - 1):
        first: dict[bytes, int] = {}
        slices = [piece.tobytes() for piece in np.moveaxis(shares, axis, 0)]
        groups.append([first.setdefault(piece, len(first)) for piece in slices])
        shares = shares.take([slices.index(piece) for piece in first], axis=axis)
    return groups, shares
