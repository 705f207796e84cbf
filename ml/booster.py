"""A LightGBM booster that serves: its own text in the document, its own TreeSHAP as the reasons.

LightGBM cannot be trusted with a text that it did not write. Of 35 that were cut short, had a
digit changed or lost a piece, it refused 3, read 13 as another model, and ended the process by a
signal at 19. So the text's SHA-256 stands beside it, and what does not match is never parsed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml.algorithm import Floats, Matrix, Sample

if TYPE_CHECKING:
    import lightgbm

# What the trees sum up to: log-odds, or, as the mean over them, a probability.
Link = Literal["log_odds", "probability"]

# No log-odds beyond 13.8: a forest may give a probability of 0, whose log-odds are infinite.
LEAST_PROBABILITY = 1e-6
# Below this difference of two probabilities that of their log-odds is its slope, to rounding.
_NEARLY_NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class Trees:
    """LightGBM's text, parsed once and only when a row is asked for: importing LightGBM takes 1.5 s
    of CPU, parsing 500 kB 4 ms."""

    text: str

    @cached_property
    def booster(self) -> "lightgbm.Booster":
        """Raises ValueError for a text that LightGBM refuses."""
        import lightgbm as lgb

        try:
            return lgb.Booster(model_str=self.text)
        except lgb.basic.LightGBMError as error:
            raise ValueError(f"booster: LightGBM cannot read its text: {error}") from error


@dataclass(frozen=True, eq=False)
class Booster:
    """slope * log-odds of the trees + intercept.

    features: columns of the matrices it takes.
    start: added to what the trees say, and expected: what both say before anything is known of a
        row, the trees the mean of their leaves, weighted by the training rows in each. A
        probability or log-odds, as link says.

    The contributions are LightGBM's: the Shapley values of path-dependent TreeSHAP (S. Lundberg et
    al., "From local explanations to global understanding with explainable AI for trees", 2020). Of
    a forest they add up in probabilities. A row's are then multiplied by what a difference of
    probabilities is in log-odds between the expected one and the row's, so that they add up in
    log-odds, and keep their signs and their order.
    """

    features: int
    trees: Trees
    link: Link
    start: float
    expected: float
    slope: float = 1.0
    intercept: float = 0.0

    @staticmethod
    def of(trained: "lightgbm.Booster", link: Link, start: float = 0.0) -> "Booster":
        """The predictor of a trained booster; one whose link is "probability" averages its trees
        (boosting "rf")."""
        features = trained.num_feature()
        read = Booster(features, Trees(trained.model_to_string()), link, start, expected=0.0)
        shares = read._shares(np.zeros((1, features), np.float32))
        return replace(read, expected=start + float(shares[0, -1]))

    @property
    def base(self) -> float:
        return float(self.slope * self._log_odds(self.expected) + self.intercept)

    def raw(self, matrix: Matrix) -> Floats:
        said = self.start + self._predicted(matrix, raw_score=True)
        log_odds: Floats = self.slope * self._log_odds(said) + self.intercept
        return log_odds

    def contributions(self, matrix: Matrix) -> Floats:
        shares = self._shares(matrix)[:, :-1]
        if self.link == "log_odds":
            return self.slope * shares
        return self.slope * shares * self._steepness(shares.sum(axis=1))[:, None]

    def scaled(self, slope: float, intercept: float) -> "Booster":
        return replace(self, slope=slope * self.slope, intercept=slope * self.intercept + intercept)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "booster",
            "features": self.features,
            "link": self.link,
            "start": self.start,
            "expected": self.expected,
            "slope": self.slope,
            "intercept": self.intercept,
            "sha256": _digest(self.trees.text),
            "text": self.trees.text,
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Booster":
        """The booster that to_json wrote; raises ValueError for a text that is not as written."""
        text = str(document["text"])
        if (found := _digest(text)) != document["sha256"]:
            raise ValueError(
                f"booster: its text has the SHA-256 {found}, the document says "
                f"{document['sha256']}: it is damaged, train the model again"
            )
        if document["link"] not in ("log_odds", "probability"):
            raise ValueError(
                f"booster: link is {document['link']!r}, expected log_odds or probability"
            )
        names = ("start", "expected", "slope", "intercept")
        numbers = {name: float(document[name]) for name in names}
        return Booster(document["features"], Trees(text), document["link"], **numbers)

    @cached_property
    def _divisor(self) -> int:
        """LightGBM averages the trees of a forest in predict, but neither in raw_score nor in
        pred_contrib."""
        return self.trees.booster.num_trees() if self.link == "probability" else 1

    def _shares(self, matrix: Matrix) -> Floats:
        """What each feature adds to the trees' sum or mean, and at last what is expected."""
        return self._predicted(matrix, pred_contrib=True)

    def _predicted(self, matrix: Matrix, **kind: bool) -> Floats:
        if not len(matrix):  # which LightGBM refuses
            return self._predicted(np.zeros((1, self.features), np.float32), **kind)[:0]
        total: Any = self.trees.booster.predict(matrix, num_threads=1, **kind)
        predicted: Floats = total / self._divisor
        return predicted

    def _log_odds(self, said: Any) -> Any:
        if self.link == "log_odds":
            return said
        probability = np.clip(said, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return np.log(probability / (1 - probability))

    def _steepness(self, change: Floats) -> Floats:
        """What the log-odds change by, per probability, from the expected one to each row's."""
        still = np.abs(change) < _NEARLY_NOTHING
        change = np.where(still, _NEARLY_NOTHING, change)
        rise = self._log_odds(self.expected + change) - self._log_odds(self.expected)
        steepness: Floats = rise / change
        return steepness


def dataset(
    sample: Sample,
    parameters: Mapping[str, Any],
    rows: slice = slice(None),
    weight: Floats | None = None,
) -> "lightgbm.Dataset":
    """Rows of the sample as LightGBM takes them: categories by their codes. weight: of each of
    these rows; None: all the same."""
    import lightgbm as lgb

    categorical = [i for i, feature in enumerate(sample.spec.features) if feature.categorical]
    return lgb.Dataset(
        sample.matrix[rows], sample.label[rows], weight=weight,
        categorical_feature=categorical, params=dict(parameters),
    )  # fmt: skip


def directions(sample: Sample) -> dict[str, Any]:
    """The parameter that holds the sample's directions; none where all features are free."""
    return {"monotone_constraints": list(sample.monotone)} if any(sample.monotone) else {}


def told(
    progress: Callable[[float], None], rounds: int, share: tuple[float, float] = (0.0, 1.0)
) -> "Callable[[lightgbm.callback.CallbackEnv], None]":
    """A callback that tells of each round where it stands between two shares of the work."""

    def tell(state: "lightgbm.callback.CallbackEnv") -> None:
        first, last = share
        progress(first + (last - first) * (state.iteration + 1) / rounds)

    return tell


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
