"""The algorithms that a tenant's model may be made by: one class each, found by its name."""

from ml.algorithm import Algorithm
from ml.algorithms.boosted_tables import BoostedTables
from ml.algorithms.deep_boosting import DeepBoosting
from ml.algorithms.logistic_regression import LogisticRegression
from ml.algorithms.naive_bayes import NaiveBayes
from ml.algorithms.neural_network import NeuralNetwork
from ml.algorithms.random_forest import RandomForest
from ml.settings import AlgorithmName

ALGORITHMS: dict[AlgorithmName, type[Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        BoostedTables,
        DeepBoosting,
        LogisticRegression,
        RandomForest,
        NeuralNetwork,
        NaiveBayes,
    )
}
