"""A neural network of one hidden layer, several times over, on scaled and one-hot columns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ml.algorithm import Bools, Floats, Sample
from ml.encoding import Encoding
from ml.network import Network
from ml.settings import AlgorithmName

if TYPE_CHECKING:
    from optuna import Trial
    from sklearn.neural_network import MLPClassifier

BATCH_ROWS = 100
LEAST_EPOCHS, MOST_EPOCHS = 5, 150


@dataclass(frozen=True)
class NeuralNetwork:
    """scikit-learn's MLPClassifier, trained by Adam (D. Kingma, J. Ba, "Adam: a method for
    stochastic optimization", 2015), whose weights a Network serves.

    Members that start from other weights are averaged in log-odds: one network whose hidden layer
    is all of theirs. What keeps a small sample from being learnt by heart is the weights' normal
    prior, whose worth in rows does not depend on how many rows there are, and the few steps.

    units: of each member's hidden layer. decay: the prior's precision; scikit-learn's alpha is
        this by the share of the rows that a batch is. steps: of each member, in batches of 100
        rows; whole epochs, 5 to 150.
    """

    name: ClassVar[AlgorithmName] = "neural_network"
    monotone: ClassVar[bool] = False

    members: int = 3
    units: int = 16
    decay: float = 30.0
    steps: int = 1500
    learning_rate: float = 0.003

    def fit(self, sample: Sample, *, seed: int, progress: Callable[[float], None]) -> Network:
        from threadpoolctl import threadpool_limits

        encoding = Encoding.of(sample.spec, sample.matrix)
        if not encoding.size:
            return _constant(encoding, sample.label)
        encoded = encoding.encode(sample.matrix)

        def told(member: int) -> Callable[[float], None]:
            return lambda share: progress((member + share) / self.members)

        # Two busy cores make BLAS threads wait for each other; one is faster and repeatable.
        with threadpool_limits(limits=1):
            members = [
                self._member(encoded, sample.label, seed * self.members + member, told(member))
                for member in range(self.members)
            ]
        return Network(
            encoding,
            hidden=np.hstack([member.coefs_[0] for member in members]),
            hidden_bias=np.concatenate([member.intercepts_[0] for member in members]),
            output=np.concatenate([member.coefs_[1][:, 0] for member in members]) / self.members,
            output_bias=float(np.mean([member.intercepts_[1][0] for member in members])),
        )

    @classmethod
    def suggest(cls, trial: "Trial") -> "NeuralNetwork":
        return cls(
            members=trial.suggest_int("members", 1, 5),
            units=trial.suggest_int("units", 4, 64, log=True),
            decay=trial.suggest_float("decay", 1.0, 300.0, log=True),
            steps=trial.suggest_int("steps", 500, 6000, log=True),
            learning_rate=trial.suggest_float("learning_rate", 0.0005, 0.02, log=True),
        )

    def _member(
        self, encoded: Floats, label: Bools, seed: int, progress: Callable[[float], None]
    ) -> "MLPClassifier":
        from sklearn.neural_network import MLPClassifier

        rows = len(label)
        batch = min(BATCH_ROWS, rows)
        epochs = int(np.clip(-(-self.steps * batch // rows), LEAST_EPOCHS, MOST_EPOCHS))
        network = MLPClassifier(
            (self.units,), activation="tanh", alpha=self.decay * batch / rows, batch_size=batch,
            learning_rate_init=self.learning_rate,
            # A number instead would shuffle the rows the same way in every epoch.
            random_state=np.random.RandomState(seed),
        )  # fmt: skip
        for epoch in range(epochs):
            network.partial_fit(encoded, label, classes=[False, True])
            progress((epoch + 1) / epochs)
        return network


def _constant(encoding: Encoding, label: Bools) -> Network:
    """The network of rows that are all alike: their rate."""
    rate = float(np.log(label.sum() / (~label).sum()))
    return Network(encoding, np.zeros((0, 1)), np.zeros(1), np.zeros(1), rate)
