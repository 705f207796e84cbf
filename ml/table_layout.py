"""Where each of a sum of tables lies in the flat arrays that hold them all (ml.tables)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ml.bins import Bins

Counts = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Layout:
    """columns: of each table (a,) or (a, b). bins: how many each of its columns has, shape
    (tables, 2), 0 for a second one that it does not have. distinct: how many distinct rows and
    columns it has, (tables, 2), 1 for the column of a table of one."""

    columns: Sequence[tuple[int, ...]]
    bins: Counts
    distinct: Counts

    @staticmethod
    def of(
        bins: Mapping[int, Bins], columns: Sequence[tuple[int, ...]], groups: NDArray[np.uint16]
    ) -> "Layout":
        """Raises ValueError where there is not a group for each bin of each table's columns."""
        sizes = {column: of.size for column, of in bins.items()}
        if missing := set(chain.from_iterable(columns)) - sizes.keys():
            raise ValueError(f"the tables' columns {sorted(missing)} have no bins")
        pairs = [(sizes[of[0]], sizes[of[1]] if len(of) == 2 else 0) for of in columns]
        counts = np.array(pairs, np.intp).reshape(-1, 2)
        if counts.sum() != len(groups):
            raise ValueError(
                f"the tables have {len(groups)} groups, the bins of their columns make it "
                f"{counts.sum()}"
            )
        distinct = np.ones_like(counts)
        if len(counts):
            distinct[counts > 0] = np.maximum.reduceat(groups, _begins(counts)[counts > 0])
            distinct[counts > 0] += 1
        return Layout(columns, counts, distinct)

    @cached_property
    def groups_at(self) -> Counts:
        """Where the groups of each table's columns begin, shape (tables, 2)."""
        return _begins(self.bins)

    @cached_property
    def cell(self) -> Counts:
        """How many shares a cell of each table has: one for each of its columns."""
        shares: Counts = (self.bins > 0).sum(axis=1)
        return shares

    @cached_property
    def shares(self) -> Counts:
        """How many shares each table has."""
        shares: Counts = self.distinct.prod(axis=1) * self.cell
        return shares

    @cached_property
    def shares_at(self) -> Counts:
        """Where the shares of each table begin."""
        return _begins(self.shares)

    @cached_property
    def shared(self) -> tuple[Counts, Counts, Counts]:
        """Of all columns of all tables, one table after the other: the table, the column's position
        in its cells, and the column."""
        named = [
            (number, position, column)
            for number, of in enumerate(self.columns)
            for position, column in enumerate(of)
        ]
        table, position, column = np.array(named, np.intp).reshape(-1, 3).T
        return table, position, column

    def parts(self) -> Iterator[tuple[slice, list[slice], tuple[int, ...]]]:
        """Of each table where its shares are, the groups of its columns, and the shares' shape."""
        of_shares = zip(self.shares_at.tolist(), self.shares.tolist(), strict=True)
        groups = zip(self.groups_at.tolist(), self.bins.tolist(), strict=True)
        for columns, (at, shares), (begins, bins), distinct in zip(
            self.columns, of_shares, groups, self.distinct.tolist(), strict=True
        ):
            k = len(columns)
            spans = [slice(begin, begin + size) for begin, size in zip(begins, bins, strict=True)]
            yield slice(at, at + shares), spans[:k], (*distinct[:k], k)


def _begins(sizes: Counts) -> Counts:
    """Where each begins of parts of these sizes, one behind the other, row after row."""
    begins: Counts = (np.cumsum(sizes) - sizes.ravel()).reshape(sizes.shape)
    return begins
