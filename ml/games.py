"""The trees of a LightGBM booster as games of one and of two columns, in which each column's share
is known exactly.

A tree with root a and children that split on b and c is the sum of two games, (a, b) and (a, c).
With w the child's share of the root's training rows, I(a) = 1 where the row goes to that child,
g(b) the leaf it reaches there and m the mean of the child's leaves, the games are
v(a, b) = I.g, v(a) = I.m, v(b) = w.g and v() = w.m. The mean over the two orders of arrival gives
    phi_a = (I - w)(m + g) / 2        phi_b = (w + I)(g - m) / 2
A child that is a leaf, or that splits on a again, is a game of a alone: phi_a = I.g - w.m.
These are the values of path-dependent TreeSHAP (Lundberg et al., "From local explanations to
global understanding with explainable AI for trees", 2020), which LightGBM calls pred_contrib.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from ml.algorithm import Bools, Floats
from ml.bins import BELOW_ZERO, ZERO, Bins, CodeBins, NumberBins

Node: TypeAlias = Mapping[str, Any]


def summed(
    dump: Mapping[str, Any],
) -> tuple[float, dict[int, Bins], dict[tuple[int, ...], Floats]]:
    """A trained booster as its base, the bins of every column that a tree splits on, and the sums
    of the games of the same columns.

    dump: what lightgbm.Booster.dump_model() returns. It says itself which columns are
        categorical, where missing values go and how many rows each branch has seen.

    The base is the mean over the rows that the booster was trained on, in log-odds. The sums are by
    column (a,), shape (bins of a, 1), and by pair of columns (a, b), a < b, with the shares of a
    and of b, shape (bins of a, bins of b, 2).

    Raises ValueError for what games of one and two columns cannot hold: trees deeper than 2, linear
    leaves, more than one tree per iteration.
    """
    trees = [tree["tree_structure"] for tree in dump["tree_info"]]
    _refuse_what_tables_cannot_hold(dump, trees)
    bins = _bins(trees)
    sums: dict[tuple[int, ...], Floats] = {}
    for tree in trees:
        for columns, shares in _games(tree, bins):
            sums[columns] = sums.get(columns, 0.0) + shares
    return float(sum(_mean(tree) for tree in trees)), bins, dict(sorted(sums.items()))


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


def _goes_left(node: Node, values: Floats) -> Bools:
    """LightGBM's decision (Tree::Decision in its tree.h) for values of the node's column."""
    if node["decision_type"] == "==":
        return np.isin(values, _codes(node))
    missing = np.isnan(values)
    zero = missing | (np.abs(values) <= ZERO)
    left: Bools = np.where(zero, 0.0, values) <= _threshold(node)
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
