"""The sum of tables that serves: a LightGBM booster of depth-2 trees, compiled once.

A tree of depth 2 asks about at most two columns on any branch, so the whole booster is a sum of
step functions of one and of two columns, and the Shapley value of every column can be written
down per bin: a row's contributions cost one look-up per pair of columns, not a walk per tree.

A tree with root a and children that split on b and c is the sum of two games, (a, b) and (a, c).
With w the child's share of the root's training rows, I(a) = 1 where the row goes to that child,
g(b) the leaf it reaches there and m the mean of the child's leaves, the games are v(a, b) = I.g,
v(a) = I.m, v(b) = w.g and v() = w.m. The mean over the two orders of arrival gives
    phi_a = (I - w)(m + g) / 2        phi_b = (w + I)(g - m) / 2
A child that is a leaf, or that splits on a again, is a game of a alone: phi_a = I.g - w.m.
These are the values of path-dependent TreeSHAP (Lundberg et al., "From local explanations to
global understanding with explainable AI for trees", 2020), which LightGBM calls pred_contrib.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Node = Mapping[str, Any]

# What the loops over one block touch stays in the processor's cache; a smaller one calls more.
BLOCK_ROWS = 32_768

# LightGBM reads a value this close to zero as zero, both in training and in predict.
ZERO = float(np.float32(1e-35))
BELOW_ZERO = float(np.nextafter(-ZERO, -np.inf))


@dataclass(frozen=True, eq=False)
class NumberBins:
    """Bins of a numeric column.

    edges: thresholds, ascending; bin i holds edges[i - 1] < value <= edges[i], bin len(edges)
        what lies above all of them, and one more bin, the last, the missing values (NaN).
    """

    edges: Floats

    @property
    def size(self) -> int:
        return len(self.edges) + 2

    @property
    def examples(self) -> Floats:
        """One value of each bin: what a split decides for it holds for the whole bin."""
        return np.append(self.edges, [np.inf, np.nan])

    def of(self, column: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The bin of each value, where float64(value) <= edge decides, as LightGBM does."""
        missing = len(self.edges) + 1
        if missing > np.iinfo(np.uint8).max:
            return np.searchsorted(np.append(self._edges32, np.float32(np.inf)), column)
        # Counting the edges below costs 0.1 ns per value and edge; searchsorted, whose branches
        # no processor predicts, 20 to 40 ns per value. A missing value is above no edge.
        bins = np.isnan(column).view(np.uint8) * np.uint8(missing)
        above = np.empty(len(column), dtype=np.bool_)
        for edge in self._edges32:
            np.greater(column, edge, out=above)
            bins += above.view(np.uint8)
        return bins

    @cached_property
    def _edges32(self) -> NDArray[np.float32]:
        """The greatest float32 <= each edge: a float32 value is <= both of them or neither."""
        with np.errstate(over="ignore"):
            nearest = self.edges.astype(np.float32)
        return np.where(nearest > self.edges, np.nextafter(nearest, np.float32(-np.inf)), nearest)


@dataclass(frozen=True)
class CodeBins:
    """Bins of a categorical column: bin i holds code i, the last all else (missing, unseen)."""

    codes: int

    @property
    def size(self) -> int:
        return self.codes + 1

    @property
    def examples(self) -> Floats:
        """One value of each bin: what a split decides for it holds for the whole bin."""
        return np.append(np.arange(self.codes, dtype=np.float64), np.nan)

    def of(self, column: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The bin of each value; a fraction counts as its integer part, as in LightGBM."""
        known = (column > -1) & (column < self.codes)
        codes = np.where(known, column, np.float32(self.codes))
        return codes.astype(np.min_scalar_type(self.codes))


Bins = NumberBins | CodeBins


@dataclass(frozen=True, eq=False)
class Tables:
    """Log-odds as a base plus a sum of look-ups, in which each column's share is known exactly.

    features: number of columns of the matrices it takes.
    base: what a row has before anything is known of it, in log-odds: the mean over the rows
        the booster was trained on.
    bins: how the values of a column are binned, for every column that occurs in a table.
    tables: per column (a,) the sum of its own games, shape (bins of a, 1), and per pair of
        columns (a, b), a < b, the shares of a and of b, shape (bins of a, bins of b, 2).
    """

    features: int
    base: float
    bins: Mapping[int, Bins]
    tables: Mapping[tuple[int, ...], Floats]

    @staticmethod
    def constant(features: int, base: float) -> "Tables":
        """The tables of a model that knows nothing but a base rate, given in log-odds."""
        return Tables(features, base, {}, {})

    @staticmethod
    def compile(dump: Mapping[str, Any]) -> "Tables":
        """The tables of a trained booster.

        dump: what lightgbm.Booster.dump_model() returns. It says itself which columns are
            categorical, where missing values go and how many rows each branch has seen.

        The base and the contributions are those of predict(pred_contrib=True), to rounding.
        Where LightGBM averages its trees (boosting "rf") they are divided by the number of
        trees, which predict() does too, but predict(raw_score=True) and pred_contrib do not.

        Raises ValueError for what tables of one and two columns cannot hold: trees deeper than
        2, linear leaves, more than one tree per iteration.
        """
        trees = [tree["tree_structure"] for tree in dump["tree_info"]]
        _refuse_what_tables_cannot_hold(dump, trees)
        bins = _bins(trees)
        tables: dict[tuple[int, ...], Floats] = {}
        for tree in trees:
            for columns, shares in _games(tree, bins):
                tables[columns] = tables.get(columns, 0.0) + shares
        base = float(sum(_mean(tree) for tree in trees))
        compiled = Tables(dump["max_feature_idx"] + 1, base, bins, dict(sorted(tables.items())))
        return compiled.scaled(1 / len(trees), 0.0) if dump["average_output"] else compiled

    def contributions(self, matrix: NDArray[np.float32]) -> Floats:
        """The Shapley value of every feature for every row, in log-odds, (rows, features).

        matrix: float32 (rows, features), NaN for missing, categories as integer codes.
        """
        self._refuse_other_than_own(matrix)
        totals = np.zeros((self.features, len(matrix)))
        for start in range(0, len(matrix), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            self._add_shares(matrix[rows], totals[:, rows])
        return totals.T

    def raw(self, matrix: NDArray[np.float32]) -> Floats:
        """Log-odds of every row: the base plus the row's contributions."""
        total: Floats = self.base + self.contributions(matrix).sum(axis=1)
        return total

    def scaled(self, slope: float, intercept: float) -> "Tables":
        """The tables of slope * log-odds + intercept, as a calibration asks for."""
        tables = {columns: slope * shares for columns, shares in self.tables.items()}
        return replace(self, base=slope * self.base + intercept, tables=tables)

    def to_json(self) -> dict[str, Any]:
        """A document of numbers and lists that any language can evaluate; floats are exact.

        Few of a column's thresholds matter to any one pair, so most rows and columns of a
        table repeat. It is written as "shares", its distinct rows of distinct cells, and
        "groups", for each of its columns the position in "shares" that each bin has.
        """
        return {
            "kind": "tables",
            "features": self.features,
            "base": self.base,
            "bins": [
                {"column": column, "codes": bins.codes}
                if isinstance(bins, CodeBins)
                else {"column": column, "edges": bins.edges.tolist()}
                for column, bins in self.bins.items()
            ],
            "tables": [
                {"columns": list(columns), **_folded(shares)}
                for columns, shares in self.tables.items()
            ],
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Tables":
        """The tables that to_json wrote."""
        bins: dict[int, Bins] = {
            entry["column"]: CodeBins(entry["codes"])
            if "codes" in entry
            else NumberBins(np.array(entry["edges"], dtype=np.float64))
            for entry in document["bins"]
        }
        tables = {
            tuple(entry["columns"]): _unfolded(np.array(entry["shares"]), entry["groups"])
            for entry in document["tables"]
        }
        return Tables(document["features"], document["base"], bins, tables)

    def __post_init__(self) -> None:
        for columns, shares in self.tables.items():
            expected = (*(self.bins[column].size for column in columns), len(columns))
            if shares.shape != expected:
                raise ValueError(
                    f"the table of columns {columns} has shape {shares.shape}, "
                    f"their bins make it {expected}"
                )

    def _refuse_other_than_own(self, matrix: NDArray[np.float32]) -> None:
        if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape[1] != self.features:
            raise ValueError(
                f"matrix is {matrix.dtype} of shape {matrix.shape}, the model takes float32 of "
                f"shape (rows, {self.features}): build it with the model's own spec"
            )

    def _add_shares(self, block: NDArray[np.float32], totals: Floats) -> None:
        """Add what the tables say of a block of rows to totals, shape (features, rows)."""
        bins = {
            column: column_bins.of(np.ascontiguousarray(block[:, column])).astype(self._cell_type)
            for column, column_bins in self.bins.items()
        }
        for columns, shares in self.tables.items():
            cells = bins[columns[0]]
            if len(columns) == 2:
                cells = cells * shares.shape[1]
                cells += bins[columns[1]]
            found = shares.reshape(-1, len(columns)).take(cells, axis=0)
            for position, column in enumerate(columns):
                totals[column] += found[:, position]

    @cached_property
    def _cell_type(self) -> np.dtype[Any]:
        """The smallest unsigned integer that counts the cells of any of the tables."""
        largest = max((shares[..., 0].size for shares in self.tables.values()), default=0)
        return np.min_scalar_type(largest)


def _unfolded(shares: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    for axis, positions in enumerate(groups):
        shares = shares.take(positions, axis=axis)
    return shares


def _refuse_what_tables_cannot_hold(dump: Mapping[str, Any], trees: list[Node]) -> None:
    if dump["num_tree_per_iteration"] != 1:
        raise ValueError(
            f"the booster grows {dump['num_tree_per_iteration']} trees per iteration, tables "
            "hold one: train one model per class"
        )
    for number, tree in enumerate(trees):
        if _depth(tree) > 2:
            raise ValueError(
                f"tree {number} of the booster is {_depth(tree)} levels deep, tables hold 2: "
                "train with max_depth=2"
            )
        if any("leaf_const" in leaf for leaf in _leaf_nodes(tree)):
            raise ValueError(
                f"tree {number} of the booster has linear leaves, tables hold constant ones: "
                "train with linear_tree=false"
            )


def _bins(trees: list[Node]) -> dict[int, Bins]:
    """The bins of every column some tree splits on: no split falls inside any of them."""
    edges: dict[int, set[float]] = {}
    codes: dict[int, int] = {}
    for node in (node for tree in trees for node in _splits(tree)):
        column = node["split_feature"]
        if node["decision_type"] == "==":
            codes[column] = max(codes.get(column, 0), max(_codes(node)) + 1)
        else:
            edges.setdefault(column, set()).update(_edges(node))
    bins: dict[int, Bins] = {column: CodeBins(count) for column, count in codes.items()}
    bins |= {column: NumberBins(np.array(sorted(found))) for column, found in edges.items()}
    return dict(sorted(bins.items()))


def _edges(node: Node) -> set[float]:
    """Where the decision of a numeric split can change: its threshold and LightGBM's zero."""
    threshold = _threshold(node)
    around_zero = node["missing_type"] == "Zero" or abs(threshold) <= ZERO
    edges = {BELOW_ZERO, ZERO} if around_zero else set()
    return edges | ({threshold} if ZERO < abs(threshold) < np.inf else set())


def _threshold(node: Node) -> float:
    """The threshold of a numeric split; the dump writes 1e300 where LightGBM has infinity."""
    threshold: float = node["threshold"]
    return threshold if threshold < 1e300 else np.inf


def _codes(node: Node) -> list[int]:
    return [int(code) for code in node["threshold"].split("||")]


def _games(tree: Node, bins: Mapping[int, Bins]) -> Iterator[tuple[tuple[int, ...], Floats]]:
    """The columns and the shares of the games whose sum the tree is; see the module's head."""
    for child, left in _children(tree):
        a, b = tree["split_feature"], child.get("split_feature", tree["split_feature"])
        weight, mean = _rows(child) / _rows(tree), _mean(child)
        arrives = _goes_left(tree, bins[a].examples) == left
        leaf = _leaf_values(child, bins[b].examples)
        if a == b:
            yield (a,), (arrives * leaf - weight * mean)[:, np.newaxis]
            continue
        share_a = np.multiply.outer(arrives - weight, mean + leaf) / 2
        share_b = np.multiply.outer(weight + arrives, leaf - mean) / 2
        if a < b:
            yield (a, b), np.stack([share_a, share_b], axis=-1)
        else:
            yield (b, a), np.stack([share_b.T, share_a.T], axis=-1)


def _goes_left(node: Node, values: Floats) -> Flags:
    """LightGBM's decision (Tree::Decision in its tree.h) for values of the node's column."""
    if node["decision_type"] == "==":
        return np.isin(values, _codes(node))
    missing = np.isnan(values)
    zero = missing | (np.abs(values) <= ZERO)
    left: Flags = np.where(zero, 0.0, values) <= _threshold(node)
    undecided = {"NaN": missing, "Zero": zero, "None": np.zeros_like(missing)}
    left[undecided[node["missing_type"]]] = node["default_left"]
    return left


def _leaf_values(node: Node, values: Floats) -> Floats:
    """What a leaf, or a split of two leaves on the column of the values, gives for each value."""
    if "leaf_value" in node:
        return np.full(len(values), node["leaf_value"])
    left, right = (float(child["leaf_value"]) for child, _ in _children(node))
    leaves: Floats = np.where(_goes_left(node, values), left, right)
    return leaves


def _children(node: Node) -> list[tuple[Node, bool]]:
    """The children of a split, each with whether it is the left one; none of a leaf."""
    if "leaf_value" in node:
        return []
    return [(node["left_child"], True), (node["right_child"], False)]


def _splits(node: Node) -> Iterator[Node]:
    for child, _ in _children(node):
        yield from _splits(child)
    if "split_feature" in node:
        yield node


def _leaf_nodes(node: Node) -> Iterator[Node]:
    for child, _ in _children(node):
        yield from _leaf_nodes(child)
    if "leaf_value" in node:
        yield node


def _depth(node: Node) -> int:
    return max((1 + _depth(child) for child, _ in _children(node)), default=0)


def _rows(node: Node) -> int:
    """How many training rows reached a node."""
    count: int = node["leaf_count"] if "leaf_value" in node else node["internal_count"]
    return count


def _mean(node: Node) -> float:
    """The mean of the leaves below a node over the training rows that reached it."""
    if "leaf_value" in node:
        leaf: float = node["leaf_value"]
        return leaf
    return sum(_rows(child) / _rows(node) * _mean(child) for child, _ in _children(node))


def _folded(shares: Floats) -> dict[str, Any]:
    """A table as its distinct slices along each axis, and which of them each bin has."""
    groups = []
    for axis in range(shares.ndim - 1):
        first: dict[bytes, int] = {}
        slices = [piece.tobytes() for piece in np.moveaxis(shares, axis, 0)]
        groups.append([first.setdefault(piece, len(first)) for piece in slices])
        shares = shares.take([slices.index(piece) for piece in first], axis=axis)
    return {"groups": groups, "shares": shares.tolist()}
