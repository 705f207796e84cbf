"""The columns a simulated tenant keeps on its leads: how values are drawn and what they do.

A value's effect is in log-odds of converting on a given day. A column without an effect is noise,
and a missing value has no effect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Effect = Callable[[Floats], Floats]


class Column(Protocol):
    """One attribute of a tenant's leads.

    of_account: drawn once per account and shared by its leads; leads without one lack it.
    """

    @property
    def name(self) -> str: ...
    @property
    def of_account(self) -> bool: ...
    @property
    def is_noise(self) -> bool: ...

    def draw(self, rng: np.random.Generator, n: int) -> pl.Series:
        """n values, nulls among them, named after the column."""
        ...

    def log_odds(self, values: pl.Series) -> Floats:
        """The effect of each value."""
        ...


@dataclass(frozen=True)
class Threshold:
    """Nothing below `at`, `weight` from there on."""

    at: float
    weight: float

    def __call__(self, values: Floats) -> Floats:
        return np.where(values >= self.at, self.weight, 0.0)


@dataclass(frozen=True)
class Hump:
    """`weight` at `best`, falling to -weight at `factor` times more or less and staying there."""

    best: float
    factor: float
    weight: float

    def __call__(self, values: Floats) -> Floats:
        distance: Floats = np.log(np.maximum(values, 1e-9) / self.best) / np.log(self.factor)
        return self.weight * (1 - 2 * np.minimum(distance**2, 1))


@dataclass(frozen=True)
class Numeric:
    """A log-normal number. spread: standard deviation of its logarithm."""

    name: str
    median: float
    spread: float
    effect: Effect | None = None
    decimals: int = 0
    missing: float = 0.0
    of_account: bool = False

    @property
    def is_noise(self) -> bool:
        return self.effect is None

    def draw(self, rng: np.random.Generator, n: int) -> pl.Series:
        values = np.round(self.median * np.exp(self.spread * rng.normal(size=n)), self.decimals)
        numbers = values if self.decimals else values.astype(np.int64)
        return _with_gaps(rng, pl.Series(self.name, numbers), self.missing)

    def log_odds(self, values: pl.Series) -> Floats:
        if self.effect is None:
            return np.zeros(len(values))
        numbers = values.cast(pl.Float64).to_numpy()
        return np.where(np.isnan(numbers), 0.0, self.effect(np.nan_to_num(numbers)))


@dataclass(frozen=True)
class Choice:
    """One of several words. shares: word to its share; weights: word to its effect, if any."""

    name: str
    shares: Mapping[str, float]
    weights: Mapping[str, float] = field(default_factory=dict)
    missing: float = 0.0
    of_account: bool = False

    @property
    def is_noise(self) -> bool:
        return not self.weights

    def draw(self, rng: np.random.Generator, n: int) -> pl.Series:
        shares = np.array(list(self.shares.values()))
        codes = rng.choice(len(shares), n, p=shares / shares.sum())
        values = pl.Series(self.name, list(self.shares)).gather(codes)
        return _with_gaps(rng, values, self.missing)

    def log_odds(self, values: pl.Series) -> Floats:
        return values.replace_strict(self.weights, default=0.0, return_dtype=pl.Float64).to_numpy()


@dataclass(frozen=True)
class Flag:
    """True for `share` of the leads, with the effect `weight`."""

    name: str
    share: float
    weight: float = 0.0
    missing: float = 0.0
    of_account: bool = False

    @property
    def is_noise(self) -> bool:
        return self.weight == 0

    def draw(self, rng: np.random.Generator, n: int) -> pl.Series:
        values = pl.Series(self.name, rng.random(n) < self.share)
        return _with_gaps(rng, values, self.missing)

    def log_odds(self, values: pl.Series) -> Floats:
        return self.weight * values.fill_null(False).to_numpy().astype(np.float64)


@dataclass(frozen=True)
class DaysBefore:
    """A date up to `within` days before the lead was created; published as a date.

    The effect falls evenly from +weight on the same day to -weight `within` days before.
    """

    name: str
    within: int
    weight: float
    missing: float = 0.0
    of_account: bool = False

    @property
    def is_noise(self) -> bool:
        return self.weight == 0

    def draw(self, rng: np.random.Generator, n: int) -> pl.Series:
        values = pl.Series(self.name, rng.integers(0, self.within + 1, n))
        return _with_gaps(rng, values, self.missing)

    def log_odds(self, values: pl.Series) -> Floats:
        effect = self.weight * (1 - 2 * values.cast(pl.Float64) / self.within)
        return effect.fill_null(0.0).to_numpy()


def _with_gaps(rng: np.random.Generator, values: pl.Series, share: float) -> pl.Series:
    if not share:
        return values
    kept = pl.Series("kept", rng.random(len(values)) >= share)
    return values.to_frame().select(pl.when(kept).then(pl.col(values.name)))[values.name]
