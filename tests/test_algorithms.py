"""Every algorithm: it learns, its reasons add up, its document gives back every bit."""

import json
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.algorithm import Algorithm, Floats, Matrix, Predictor, Sample
from ml.algorithms import ALGORITHMS
from ml.algorithms.deep_boosting import DeepBoosting
from ml.algorithms.naive_bayes import NaiveBayes
from ml.algorithms.neural_network import NeuralNetwork
from ml.algorithms.random_forest import RandomForest
from ml.blend import read
from ml.booster import Booster
from ml.network import Network
from ml.settings import AlgorithmName
from ml.spec import Column, FeatureSpec
from ml.tuning import tune

SPEC = FeatureSpec(
    columns=(
        Column("channel", "categorical", tuple("abcdef")),
        Column("calls", "numeric"),
        Column("size", "numeric"),
        Column("noise", "numeric"),
        Column("empty", "numeric"),
        Column("constant", "numeric"),
    ),
    interaction_kinds=(),
)
CHANNEL, CALLS, SIZE, NOISE, AGE = 0, 1, 2, 3, 6
FREE = (0,) * len(SPEC.features)
# In an order that no split of the codes as numbers can follow.
CHANNEL_EFFECT = np.array([1.5, -1.5, 1.0, -1.0, 2.0, -2.0])
ROWS = 1000

# Those whose fits take seconds; the others need not tell more than that they began and ended.
TAKES_TIME = ("boosted_tables", "deep_boosting", "random_forest", "neural_network")

every_algorithm = pytest.mark.parametrize("name", list(ALGORITHMS))
each_that_holds_directions = pytest.mark.parametrize(
    "name", [name for name, algorithm in ALGORITHMS.items() if algorithm.monotone]
)


def rows(seed: int) -> tuple[Matrix, Floats]:
    """A matrix, and the log-odds that its labels are drawn by."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(ROWS, len(SPEC.features))).astype(np.float32)
    matrix[:, CHANNEL] = random.integers(0, len(CHANNEL_EFFECT), ROWS)
    matrix[:, CALLS] = random.poisson(2, ROWS)
    matrix[:, 4], matrix[:, 5] = np.nan, 3.0
    log_odds = CHANNEL_EFFECT[matrix[:, CHANNEL].astype(int)] + 0.8 * (matrix[:, CALLS] - 2) - 1
    log_odds -= 0.7 * matrix[:, SIZE] ** 2
    matrix[random.random(ROWS) < 0.1, SIZE] = np.nan
    matrix[:2, NOISE] = [np.inf, -np.inf]
    return matrix, log_odds.astype(np.float64)


def sample(seed: int = 1, monotone: tuple[int, ...] = FREE) -> Sample:
    matrix, log_odds = rows(seed)
    label = np.random.default_rng(seed).random(ROWS) < 1 / (1 + np.exp(-log_odds))
    return Sample(SPEC, matrix, label, monotone)


def silent(_share: float) -> None:
    pass


def made(name: AlgorithmName) -> Algorithm:
    """With its defaults, but for the one that takes its time."""
    return NeuralNetwork(members=2, steps=500) if name == "neural_network" else ALGORITHMS[name]()


@cache
def fitted(name: AlgorithmName) -> Predictor:
    return made(name).fit(sample(), seed=3, progress=silent)


def awkward() -> Matrix:
    """Rows as they were learnt from, and rows as they should never be."""
    usual = rows(2)[0][:50]
    values = [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -1.0,
        -3.5,
        0.5,
        2.9,
        6.0,
        77.0,
        1e6,
        3e38,
        -3e38,
        1e-40,
    ]
    each = [np.full(len(SPEC.features), value, np.float32) for value in values]
    planted = [usual[0].copy() for _ in values for _ in SPEC.features]
    for place, row in enumerate(planted):
        row[place % len(SPEC.features)] = values[place // len(SPEC.features)]
    return np.vstack([usual, *each, *planted])


def stored(predictor: Predictor) -> Predictor:
    return read(json.loads(json.dumps(predictor.to_json(), allow_nan=False)))


def loss(label: NDArray[np.bool_], log_odds: Floats) -> float:
    return float(np.mean(np.logaddexp(0, log_odds) - label * log_odds))


@every_algorithm
def test_most_of_what_can_be_learnt_is_learnt(name: AlgorithmName) -> None:
    matrix, best = rows(5)
    label = np.random.default_rng(6).random(ROWS) < 1 / (1 + np.exp(-best))
    rate = sample().label.mean()
    base_rate = loss(label, np.full(ROWS, np.log(rate / (1 - rate))))
    learnt = base_rate - loss(label, fitted(name).raw(matrix))
    assert learnt > 0.5 * (base_rate - loss(label, best))


@every_algorithm
def test_reasons_add_up_whatever_the_values(name: AlgorithmName) -> None:
    predictor, matrix = fitted(name), awkward()
    raw, contributions = predictor.raw(matrix), predictor.contributions(matrix)
    assert contributions.shape == matrix.shape
    assert np.isfinite(contributions).all()
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(predictor.base + contributions.sum(axis=1), raw, rtol=0, atol=1e-9)


@every_algorithm
def test_columns_that_say_nothing_are_no_reason(name: AlgorithmName) -> None:
    mean = np.abs(fitted(name).contributions(rows(2)[0])).mean(axis=0)
    assert mean[[4, 5]].tolist() == [0, 0]
    assert max(mean[[NOISE, AGE]]) < 0.3 * min(mean[[CHANNEL, CALLS]])


@every_algorithm
def test_a_category_is_its_code_and_no_number(name: AlgorithmName) -> None:
    matrix = np.repeat(rows(2)[0][:1], len(CHANNEL_EFFECT), axis=0)
    matrix[:, CHANNEL] = np.arange(len(CHANNEL_EFFECT))
    assert np.corrcoef(fitted(name).raw(matrix), CHANNEL_EFFECT)[0, 1] > 0.9
    matrix[:3, CHANNEL] = [-1, len(CHANNEL_EFFECT), 77]
    assert len(set(fitted(name).raw(matrix[:3]).tolist())) == 1, "all of them unseen"


@every_algorithm
def test_scaled_is_a_straight_line_of_the_log_odds(name: AlgorithmName) -> None:
    predictor, matrix = fitted(name), awkward()
    scaled = predictor.scaled(0.5, -1.0).scaled(3.0, 0.25)
    for found, expected in (
        (scaled.base, 1.5 * predictor.base - 2.75),
        (scaled.raw(matrix), 1.5 * predictor.raw(matrix) - 2.75),
        (scaled.contributions(matrix), 1.5 * predictor.contributions(matrix)),
        (stored(scaled).raw(matrix), scaled.raw(matrix)),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@every_algorithm
def test_its_document_gives_back_every_bit(name: AlgorithmName) -> None:
    predictor, matrix = fitted(name), awkward()
    again = stored(predictor)
    assert (again.base, again.features) == (predictor.base, len(SPEC.features))
    assert np.array_equal(again.raw(matrix), predictor.raw(matrix))
    assert np.array_equal(again.contributions(matrix), predictor.contributions(matrix))
    assert again.to_json() == predictor.to_json()


@every_algorithm
def test_the_same_seed_gives_the_same_predictor(name: AlgorithmName) -> None:
    again = made(name).fit(sample(), seed=3, progress=silent)
    assert again.to_json() == fitted(name).to_json()


@every_algorithm
def test_a_lead_has_the_same_reasons_alone_as_in_bulk(name: AlgorithmName) -> None:
    predictor, matrix = fitted(name), awkward()
    together = predictor.contributions(matrix)
    alone = [predictor.contributions(row[np.newaxis])[0] for row in matrix]
    assert np.array_equal(together, alone)
    assert predictor.contributions(matrix[:0]).shape == (0, len(SPEC.features))
    assert predictor.raw(matrix[:0]).shape == (0,)


@each_that_holds_directions
def test_directions_are_held_against_the_data(name: AlgorithmName) -> None:
    """Of calls, which the data say raise the log-odds; and of size, which first raises them and
    then lowers them."""
    directions = {CALLS: -1, SIZE: 1}
    monotone = tuple(directions.get(place, 0) for place in range(len(SPEC.features)))
    held = made(name).fit(sample(monotone=monotone), seed=3, progress=silent)
    for feature, direction in directions.items():
        grid = np.linspace(-4, 8, 97, dtype=np.float32)
        matrix = np.repeat(rows(2)[0][:30], len(grid), axis=0)
        matrix[:, feature] = np.tile(grid, 30)
        steps = [
            direction * np.diff(predictor.raw(matrix).reshape(30, len(grid)), axis=1)
            for predictor in (held, fitted(name))
        ]
        assert steps[0].min() >= -1e-9
        # A straight line has one direction, and size may have it by chance.
        assert steps[1].min() < -1e-3 or (name, feature) == ("logistic_regression", SIZE)


@every_algorithm
def test_progress_is_told_from_nothing_to_all(name: AlgorithmName) -> None:
    told: list[float] = []
    made(name).fit(sample(), seed=3, progress=told.append)
    assert told == sorted(told)
    assert 0 <= told[0] < 0.5
    assert told[-1] == pytest.approx(1)
    if name in TAKES_TIME:
        assert len(told) > 30


@every_algorithm
def test_progress_may_end_the_fit(name: AlgorithmName) -> None:
    class EndedError(Exception):
        pass

    def end(share: float) -> None:
        if share > 0.1:
            raise EndedError

    with pytest.raises(EndedError):
        made(name).fit(sample(), seed=3, progress=end)


@every_algorithm
def test_of_columns_that_never_vary_only_the_rate_is_learnt(name: AlgorithmName) -> None:
    matrix = np.full((100, len(SPEC.features)), np.nan, np.float32)
    label = np.arange(100) % 4 == 0
    predictor = made(name).fit(Sample(SPEC, matrix, label, FREE), seed=3, progress=silent)
    np.testing.assert_allclose(stored(predictor).raw(awkward()), np.log(1 / 3), atol=0.05)
    np.testing.assert_allclose(predictor.contributions(awkward()), 0, atol=1e-12)


@every_algorithm
def test_a_search_begins_with_the_defaults(name: AlgorithmName) -> None:
    algorithm = ALGORITHMS[name]
    tuned = tune(algorithm, lambda _found, _report: 1.0, trials=3, time_left=lambda: 1.0)
    assert algorithm(**tuned.trials[0].parameters) == algorithm()
    assert tuned.trials[1].parameters != tuned.trials[2].parameters


def test_a_forest_gives_probabilities_near_the_rate() -> None:
    """Of a step from the base rate's log-odds, as LightGBM's own classes make, few are."""
    matrix, log_odds = rows(5)
    probability = 1 / (1 + np.exp(-fitted("random_forest").raw(matrix)))
    truth = 1 / (1 + np.exp(-log_odds))
    assert 0 < probability.min() < probability.max() < 1
    assert probability.mean() == pytest.approx(truth.mean(), abs=0.05)


def test_a_forest_that_is_certain_has_finite_log_odds() -> None:
    matrix, _ = rows(1)
    certain = Sample(SPEC, matrix, matrix[:, CALLS] > 2, FREE)
    forest = RandomForest(l2=0.0, columns_share=1.0).fit(certain, seed=0, progress=silent)
    raw = forest.raw(matrix)
    assert np.abs(raw).max() == pytest.approx(np.log(1e6), abs=1e-5)
    total = forest.base + forest.contributions(matrix).sum(axis=1)
    np.testing.assert_allclose(total, raw, rtol=0, atol=1e-9)


def test_the_reasons_of_a_network_are_integrated_gradients() -> None:
    network = fitted("neural_network")
    assert isinstance(network, Network)
    matrix = rows(2)[0][:20]
    encoded = network.encoding.encode(matrix)
    gradient = np.zeros_like(encoded)
    middles = (np.arange(2000) + 0.5) / 2000
    for share in middles:
        slope = 1 - np.tanh(network.hidden_bias + share * encoded @ network.hidden) ** 2
        gradient += (slope * network.output) @ network.hidden.T / len(middles)
    expected = network.encoding.by_feature(encoded * gradient)
    np.testing.assert_allclose(network.contributions(matrix), expected, rtol=0, atol=1e-6)


def test_members_of_a_network_are_averaged() -> None:
    matrix, _ = rows(2)
    alone = [
        NeuralNetwork(members=1, steps=100).fit(sample(), seed=seed, progress=silent).raw(matrix)
        for seed in (6, 7)
    ]
    both = NeuralNetwork(members=2, steps=100).fit(sample(), seed=3, progress=silent)
    np.testing.assert_allclose(both.raw(matrix), np.mean(alone, axis=0), rtol=0, atol=1e-9)
    assert not np.allclose(alone[0], alone[1])


def test_naive_bayes_multiplies_counts_as_crms_do() -> None:
    spec = FeatureSpec((Column("channel", "categorical", ("web", "fair", "mail")),), ())
    channel = [0.0] * 6 + [1.0] * 4
    matrix = np.array([channel, [np.nan] * 10], np.float32).T
    label = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0], dtype=bool)
    predictor = NaiveBayes().fit(Sample(spec, matrix, label, (0, 0)), seed=0, progress=silent)
    asked = np.array([[0, np.nan], [1, np.nan], [2, np.nan], [np.nan, np.nan]], np.float32)
    web, fair, mail, missing = predictor.raw(asked)
    assert web == pytest.approx(np.log(4 / 6) + np.log((3.1 / 4.2) / (3.1 / 6.2)))
    assert fair == pytest.approx(np.log(4 / 6) + np.log((1.1 / 4.2) / (3.1 / 6.2)))
    assert mail == missing == predictor.base, "what no row had says nothing"
    assert predictor.base == pytest.approx(0.6 * web + 0.4 * fair)


@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("others", [2, 20], ids=["a bin per value", "bins by quantile"])
def test_naive_bayes_takes_what_lies_beyond_a_numbers_bins_for_the_nearest(
    others: int, infinite: bool
) -> None:
    lowest, highest = (-np.inf, np.inf) if infinite else (0.0, 50.0)
    column = np.array([lowest, *range(1, others), *[50.0] * 30, highest], np.float32)
    label = np.arange(len(column)) % 3 == 0
    aged = Sample(FeatureSpec((), ()), column[:, np.newaxis], label, (0,))
    bayes = stored(NaiveBayes().fit(aged, seed=0, progress=silent))
    asked = np.array([[-5], [lowest], [1e9], [highest]], np.float32)
    below, least, above, most = bayes.raw(asked)
    assert below == least != most == above


def test_a_damaged_text_never_reaches_lightgbm() -> None:
    """Which reads some of them as another model, and ends the process at others."""
    document = fitted("deep_boosting").to_json()
    text = document["text"]
    middle = text.index("left_child=") + len("left_child=")
    damaged = ["", text[:middle], text[:-100], text.replace("1", "2", 1), text[:middle] + "0 0 0"]
    for wrong in [*damaged, None]:
        with pytest.raises(ValueError, match="SHA-256"):
            read({**document, "text": wrong})
    with pytest.raises(ValueError, match="link is 'other', expected log_odds or probability"):
        read({**document, "link": "other"})


def test_a_text_that_lightgbm_refuses_is_named() -> None:
    predictor = fitted("deep_boosting")
    assert isinstance(predictor, Booster)
    other = Booster.from_json(
        replace(predictor, trees=replace(predictor.trees, text="no model")).to_json()
    )
    with pytest.raises(ValueError, match="booster: LightGBM cannot read its text"):
        other.raw(awkward())


def test_a_few_rows_are_not_learnt_by_heart() -> None:
    """Of a newest fifth without conversions, the longer it learns the better it looks."""
    matrix, _ = rows(1)
    few = Sample(SPEC, matrix[:60], np.arange(60) < 15, FREE)
    raw = DeepBoosting().fit(few, seed=0, progress=silent).raw(matrix)
    assert 0 < np.ptp(raw) < 1


def test_every_algorithm_is_found_by_its_own_name() -> None:
    assert list(ALGORITHMS) == list(get_args(AlgorithmName))
    algorithms: list[Algorithm] = [algorithm() for algorithm in ALGORITHMS.values()]
    assert [algorithm.name for algorithm in algorithms] == list(ALGORITHMS)
