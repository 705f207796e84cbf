"""What an algorithm is: hyperparameters, and a fit whose predictor can say why.

A new algorithm is one class in a module of ml.algorithms, and its name in ml.settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.settings import AlgorithmName
from ml.spec import FeatureSpec

if TYPE_CHECKING:
    from optuna import Trial

Matrix: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows to learn from, in order of time.

    matrix: float32 (n, features of spec); NaN is missing, categories are integer codes.
    label: (n,), with rows of both kinds.
    monotone: per feature 1 where a rise may only raise the log-odds, -1 where it may only lower
        them, 0 where it is free; never of a categorical one.
    """

    spec: FeatureSpec
    matrix: Matrix
    label: Bools
    monotone: tuple[int, ...]


class Predictor(Protocol):
    """Log-odds as a base plus what each feature adds.

    features: columns of the matrices it takes. base: log-odds before anything is known of a row.
    """

    @property
    def features(self) -> int: ...

    @property
    def base(self) -> float: ...

    def raw(self, matrix: Matrix) -> Floats:
        """Log-odds of each row of a float32 (n, features) matrix, shape (n,)."""

    def contributions(self, matrix: Matrix) -> Floats:
        """What each feature adds to each row, (n, features): the base and a row's sum are raw."""

    def scaled(self, slope: float, intercept: float) -> Self:
        """The predictor of slope * log-odds + intercept, as a calibration asks for."""

    def to_json(self) -> dict[str, Any]:
        """A document of plain values, that ml.blend.read turns back; no pickle."""


class Algorithm(Protocol):
    """A frozen dataclass whose fields are the hyperparameters, each with a default that serves."""

    name: ClassVar[AlgorithmName]
    # Whether the fit holds the monotone directions that a sample states.
    monotone: ClassVar[bool]

    def fit(self, sample: Sample, *, seed: int, progress: Callable[[float], None]) -> Predictor:
        """Learn from the sample; the same arguments give the same predictor. progress: told the
        share done, 0 to 1, at least once a second of work; it may raise to end the fit."""

    @classmethod
    def suggest(cls, trial: "Trial") -> Self:
        """Hyperparameters for a trial of a search."""


Hyperparameters: TypeAlias = Mapping[str, float | int | str | bool | None]
