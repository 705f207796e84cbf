"""Segments of customers: planted ones come back, and where there are none one is found."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ml.algorithm import Matrix
from ml.kinds import KINDS, predict
from ml.model import dumps
from ml.segment_training import FEWEST, Trained, train
from ml.segments import Segments
from ml.spec import OTHER, Column, FeatureSpec
from ml.windows import Rows

SPEC = FeatureSpec(
    (
        Column("value", "numeric"),
        Column("delay", "numeric"),
        Column("plan", "categorical", ("basic", "pro", OTHER)),
        Column("note", "text"),
    ),
    ("email",),
    subject="customer",
)
NAMES = [feature.name for feature in SPEC.features]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def customers(count: int, *, groups: int = 3, seed: int = 0) -> tuple[Matrix, Rows]:
    """Log-normal values and delays, contacts by chance, a plan; groups differ in all of them."""
    random = np.random.default_rng(seed)
    group = random.choice(groups, count, p=np.array([0.5, 0.3, 0.2])[:groups] / 1.0
                          if groups == 3 else None)  # fmt: skip
    matrix = np.zeros((count, len(NAMES)), np.float32)
    spread = np.exp(0.4 * random.normal(size=(count, 2)))
    matrix[:, 0] = np.array([500, 4_000, 100])[group] * spread[:, 0]
    matrix[:, 1] = np.array([4, 2, 25])[group] * spread[:, 1]
    matrix[:, 2] = random.random(count) < np.array([0.2, 0.95, 0.2])[group]
    matrix[:, 3] = random.integers(0, 500, count)
    matrix[:, -1] = random.uniform(0, 800, count)
    exposed = np.minimum(matrix[:, -1], 90) / 90
    matrix[:, NAMES.index("interactions: email in 90 d")] = random.poisson(
        np.array([6, 12, 2])[group] * exposed
    )
    matrix[random.random(count) < 0.03, 0] = np.nan
    return matrix, group


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(SPEC, customers(900)[0], trained_at=NOW)


def test_planted_groups_come_back_for_customers_that_were_not_there(trained: Trained) -> None:
    new, group = customers(2_000, seed=1)
    assert trained.report.lacking is None
    assert trained.report.segments == 3
    assert adjusted_rand_score(group, trained.model.assign(new).segment) > 0.9
    assert trained.report.stability is not None
    assert trained.report.stability > 0.9
    assert trained.report.silhouette is not None
    assert trained.report.silhouette > 0.3


def test_segments_are_numbered_by_size_and_named_by_what_sets_them_apart(trained: Trained) -> None:
    largest, rich, late = trained.report.profiles
    assert largest.customers > rich.customers > late.customers
    assert sum(one.customers for one in trained.report.profiles) == 900
    assert "high value" in rich.name
    assert "plan pro" in rich.name
    assert "high delay" in late.name
    assert "low value" in late.name
    assert rich.typical["plan"].startswith("pro (9")
    assert float(late.typical["delay"]) == pytest.approx(25, rel=0.2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_customers_without_groups_are_one_segment_and_the_report_says_so(seed: int) -> None:
    found = train(SPEC, customers(700, groups=1, seed=seed)[0], trained_at=NOW)
    assert found.report.segments == 1
    assert found.report.lacking is not None
    assert "no groups" in found.report.lacking
    assert found.model.evidence.stage == "base_rate"
    assert found.model.names == ("all customers",)
    assert set(found.model.assign(customers(50)[0]).segment) == {1}


def test_new_customers_who_had_no_time_for_contacts_are_no_group() -> None:
    matrix, group = customers(900)
    new = np.random.default_rng(1).random(900) < 0.3
    matrix[new, -1] = 3.0
    matrix[new, NAMES.index("interactions: email in 90 d")] = 0
    found = train(SPEC, matrix, trained_at=NOW)
    assert found.report.segments == 3
    assert adjusted_rand_score(group, found.model.assign(matrix).segment) > 0.9


def test_a_heavy_tail_is_no_group() -> None:
    """Two normal distributions that overlap describe it better, and part nothing."""
    random = np.random.default_rng(0)
    matrix, _ = customers(900, groups=1)
    matrix[:, :2] = random.laplace(size=(900, 2)) + 20
    assert train(SPEC, matrix, trained_at=NOW).report.segments == 1


def test_numbers_that_go_together_are_no_groups() -> None:
    random = np.random.default_rng(0)
    matrix, _ = customers(700, groups=1)
    matrix[:, 1] = matrix[:, 0] * np.exp(0.1 * random.normal(size=700))
    assert train(SPEC, matrix, trained_at=NOW).report.segments == 1


def test_nothing_to_group_by_is_one_segment() -> None:
    bare = FeatureSpec((), (), subject="customer")
    found = train(bare, np.ones((100, 1), np.float32), trained_at=NOW)
    assert found.report.segments == 1
    assert found.report.lacking == "no groups that part from each other: no column to group by"


def test_too_few_customers_are_refused() -> None:
    with pytest.raises(ValueError, match=f"59 customers, expected at least {FEWEST}"):
        train(SPEC, customers(59)[0], trained_at=NOW)


def test_a_customer_that_is_missing_everything_belongs_somewhere(trained: Trained) -> None:
    unknown = np.full((1, len(NAMES)), np.nan, np.float32)
    found = trained.model.assign(unknown)
    assert 1 <= found.segment[0] <= 3
    assert 0 < found.probability[0] <= 1


def test_the_same_customers_give_the_same_document(trained: Trained) -> None:
    again = train(SPEC, customers(900)[0], trained_at=NOW)
    assert dumps(again.model) == dumps(trained.model)


def test_the_document_says_the_same_and_no_other_is_read(trained: Trained) -> None:
    again = KINDS["customer_segments"].read(dumps(trained.model))
    assert isinstance(again, Segments)
    matrix, _ = customers(60, seed=4)
    assert predict(again, matrix).equals(predict(trained.model, matrix))
    document = json.loads(dumps(trained.model))
    for field, broken, message in (
        ("names", ["one"], "shape|reshape"),
        ("weights", [1.0], "shapes"),
        ("shares", [], "shapes"),
        ("spec", {**document["spec"], "interaction_kinds": []}, "the spec makes"),
    ):
        with pytest.raises(ValueError, match=f"model document: .*({message})"):
            KINDS["customer_segments"].read(json.dumps({**document, field: broken}).encode())
