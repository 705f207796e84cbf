"""The pooled model: it helps a tenant that is new, and tells it nothing of one of the others."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from examples.simulator import PROFILES, TenantProfile, simulate
from ml import features, labels
from ml.algorithm import Bools, Matrix, Sample
from ml.metrics import auc, log_loss
from ml.pooled_model import EDGES, PooledModel
from ml.pooling import FEWEST_OUTCOMES, TooFewTenantsError, fit
from ml.spec import OTHER, Column, FeatureSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AGE = "age of the lead"
RECENCY = "recency of interactions"


def tenant(seed: int, *, rows: int = 1500, base: float = -1.0, effect: float = 1.0) -> Sample:
    """A tenant of its own columns and kinds, whose fresh and recently active leads convert."""
    spec = FeatureSpec(
        columns=(
            Column(f"attribute-{seed}", "numeric"),
            Column(f"choice-{seed}", "categorical", (f"common-{seed}", f"rare-{seed}", OTHER)),
        ),
        interaction_kinds=tuple(f"kind-{seed}-{number}" for number in range(1 + seed % 3)),
    )
    rng = np.random.default_rng(seed)
    matrix = np.asfortranarray(rng.gamma(1.0, 1.0, (rows, len(spec.features))), dtype=np.float32)
    age, recency = column(spec, AGE), column(spec, RECENCY)
    matrix[:, 1] = rng.integers(0, 3, rows)
    matrix[:, age] = rng.uniform(0, 100, rows)
    matrix[:, recency] = np.where(rng.random(rows) < 0.3, np.nan, rng.uniform(0, 60, rows))
    active = np.nan_to_num(matrix[:, recency], nan=90.0) < 10
    log_odds = base + effect * (1 - matrix[:, age] / 50 + 1.5 * active)
    return Sample(spec, matrix, rng.random(rows) < expit(log_odds), (0,) * len(spec.features))


def column(spec: FeatureSpec, name: str) -> int:
    return [feature.name for feature in spec.features].index(name)


def rows_of(sample: Sample, rows: slice | np.ndarray[Any, Any]) -> Sample:
    return replace(sample, matrix=sample.matrix[rows], label=sample.label[rows])


def simulated(profile: TenantProfile, seed: int) -> Sample:
    crm = simulate(profile, seed, NOW)
    rows = labels.snapshots(crm.leads, as_of=NOW).sort("snapshot_at", "lead_id")
    known = rows.join(crm.leads.select("lead_id", "attributes"), on="lead_id").rename(
        {"snapshot_at": "as_of"}
    )
    interactions = crm.interactions.drop_nulls("lead_id")
    kinds = interactions["kind"].value_counts(sort=True)["kind"].to_list()
    spec = features.infer(known.select("attributes"), kinds)
    matrix = features.build(spec, known, interactions)
    return Sample(spec, matrix, known["label"].to_numpy(), (0,) * len(spec.features))


def variant(name: str, number: int, rate: float) -> TenantProfile:
    """A tenant of its own: other kinds, other columns, more or fewer conversions."""
    profile = PROFILES[name]
    kinds = tuple(
        replace(kind, name=f"{kind.name} of {number}", weight=kind.weight * (0.8 + 0.05 * number))
        for kind in profile.kinds
    )
    return replace(
        profile,
        name=f"{name}-{number}",
        leads=2000,
        customers=20,
        daily_conversion=profile.daily_conversion * rate,
        kinds=kinds,
    )


@pytest.fixture(scope="module")
def pooled() -> PooledModel:
    """Of five simulated tenants."""
    profiles = [("acme", 2.0), ("brio", 4.0), ("cielo", 0.6), ("fjord", 1.2), ("acme", 3.0)]
    return fit(simulated(variant(name, n, rate), n) for n, (name, rate) in enumerate(profiles))


@pytest.fixture(scope="module")
def newcomer() -> Sample:
    """A tenant that is not in it."""
    return simulated(variant("cielo", 7, 0.4), 7)


@pytest.mark.parametrize("outcomes", [0, 10, 40])
def test_a_new_tenant_is_predicted_better_than_by_its_base_rate(
    pooled: PooledModel, newcomer: Sample, outcomes: int
) -> None:
    half = len(newcomer.label) // 2
    later = rows_of(newcomer, slice(half, None))
    gains = []
    for seed in range(20):
        chosen = np.random.default_rng(seed).choice(half, outcomes, replace=False)
        known = rows_of(newcomer, chosen)
        log_odds = pooled.predictor(known).raw(later.matrix)
        rate = base_rate(known.label)
        gains.append(
            log_loss(later.label, np.full(len(log_odds), rate))
            - log_loss(later.label, expit(log_odds))
        )
        assert auc(later.label, log_odds) > 0.6
    assert np.mean(gains) > 0.005


def base_rate(label: Bools) -> float:
    rows = len(label)
    return float(np.clip(label.mean(), 0.5 / rows, 1 - 0.5 / rows)) if rows else 0.5


def test_its_worth_is_that_of_tenants_left_out(pooled: PooledModel) -> None:
    assert pooled.worth.signal
    samples = [tenant(seed) for seed in range(4)]
    assert fit(samples).worth.signal
    # Were a tenant not left out, a signal that only it has would count for it.
    reversed_ones = [*samples[:2], *(tenant(seed, effect=-1.0) for seed in (2, 3))]
    assert not fit(reversed_ones).worth.signal
    assert not fit(tenant(seed, effect=0.0, base=-1.0) for seed in range(4)).worth.signal


def test_the_common_curves_are_found() -> None:
    model = fit(tenant(seed, base=-0.5 * seed) for seed in range(4))
    age, recency = model.curves[AGE].log_odds, model.curves[RECENCY].log_odds
    young, old = EDGES[AGE].index(7), EDGES[AGE].index(90)
    assert age[young] - age[old] == pytest.approx(1.5, abs=0.4)
    active, inactive = EDGES[RECENCY].index(4), EDGES[RECENCY].index(60)
    assert recency[active] - recency[inactive] == pytest.approx(1.5, abs=0.4)
    assert recency[-1] == pytest.approx(recency[inactive], abs=0.4), "missing: not active either"
    assert model.tenants == 4
    assert model.rows == 6000


def test_reasons_are_of_the_common_features_alone_and_add_up() -> None:
    samples = [tenant(seed) for seed in range(4)]
    newest = samples[-1]
    predictor = fit(samples[:3]).predictor(newest)
    contributions = predictor.contributions(newest.matrix)
    assert predictor.base + contributions.sum(axis=1) == pytest.approx(predictor.raw(newest.matrix))
    assert contributions.mean(axis=0) == pytest.approx(0, abs=1e-9)
    others = [n for n, f in enumerate(newest.spec.features) if f.name not in EDGES]
    assert not contributions[:, others].any()
    assert contributions[:, column(newest.spec, AGE)].std() > 0.1


def test_a_tenant_without_interactions_is_in_and_predicted() -> None:
    bare = FeatureSpec(columns=(), interaction_kinds=())
    whole = [tenant(seed) for seed in range(4)]
    first, *others = [
        Sample(bare, s.matrix[:, [column(s.spec, AGE)]], s.label, (0,)) for s in whole[:2]
    ] + whole[2:]
    model = fit([first, *others])
    assert model.tenants == 4
    assert auc(first.label, model.predictor(first).raw(first.matrix)) > 0.6


def test_the_offset_is_the_tenants_own_once_it_has_outcomes() -> None:
    model = fit(tenant(seed, base=-1.5 - 0.2 * seed) for seed in range(4))
    high = tenant(9, base=1.0)
    high.matrix[:, column(high.spec, AGE)] = 80.0  # not what the curves are centred on
    nothing = model.predictor(rows_of(high, slice(0)))
    assert nothing.base == model.offset
    rates = [
        expit(model.predictor(rows_of(high, slice(rows))).raw(high.matrix)).mean()
        for rows in (0, 20, 1500)
    ]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(high.label.mean(), abs=0.02)


def test_the_document_tells_nothing_of_one_tenant() -> None:
    samples = [tenant(seed) for seed in range(5)]
    # What a tenant alone has: leads much older than all others', at one moment.
    age = column(samples[0].spec, AGE)
    samples[0].matrix[:40, age] = 512.6875
    document = fit(samples).to_json()
    words = {"kind", "pooled", "curves", "edges", "log_odds", "offset", "spread", "tenants", "rows"}
    words |= {"worth", "log_loss", "base_rate", "error", *EDGES}
    assert set(strings(document)) == words
    written = json.dumps(document)
    for sample in samples:
        names = [*sample.spec.interaction_kinds, *(c.name for c in sample.spec.columns)]
        names += [c for one in sample.spec.columns for c in one.categories if c != OTHER]
        assert names
        assert not [name for name in names if name in written]
        in_document = {float(edge) for edges in EDGES.values() for edge in edges}
        cells = set(np.nan_to_num(sample.matrix[:, 2:]).ravel().tolist()) - {0.0}
        assert len(cells) > 1000
        assert not [cell for cell in cells if repr(cell) in written and cell not in in_document]
    assert {name: tuple(c["edges"]) for name, c in document["curves"].items()} == EDGES
    for curve in document["curves"].values():
        assert [round(cell, 2) for cell in curve["log_odds"]] == list(curve["log_odds"])


def strings(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from strings(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from strings(value)


def test_what_fewer_than_three_tenants_have_has_no_value_of_its_own() -> None:
    samples = [tenant(seed) for seed in range(4)]
    for alone in samples[:2]:
        alone.matrix[:60, column(alone.spec, AGE)] = 500.0
        alone.label[:60] = True
    age = fit(samples).curves[AGE].log_odds
    oldest_common = EDGES[AGE].index(120)
    assert set(age[oldest_common + 1 : -1]) == {age[oldest_common]}
    assert age[-1] == 0.0, "missing in nobody's rows"
    third = samples[2]
    third.matrix[:60, column(third.spec, AGE)] = 500.0
    third.label[:60] = True
    age = fit(samples).curves[AGE].log_odds
    assert age[EDGES[AGE].index(730)] > age[oldest_common] + 0.1


def test_fewer_than_three_tenants_are_refused() -> None:
    few = tenant(3, rows=150)
    assert min(few.label.sum(), (~few.label).sum()) < FEWEST_OUTCOMES
    with pytest.raises(TooFewTenantsError, match=r"2 tenants have 100 .* needs 3"):
        fit([tenant(1), tenant(2), few])
    assert fit([tenant(1), tenant(2), tenant(4)]).tenants == 3


@pytest.mark.parametrize("base", [-5.0, 5.0])
def test_a_tenant_with_few_outcomes_of_a_kind_has_no_part(base: float) -> None:
    samples = [tenant(seed) for seed in range(3)]
    few = tenant(3, base=base)
    assert 0 < min(few.label.sum(), (~few.label).sum()) < FEWEST_OUTCOMES
    assert fit([*samples, few]).to_json() == fit(samples).to_json()


def test_every_tenant_weighs_the_same() -> None:
    samples = [tenant(seed) for seed in range(3)]
    many = samples[0]
    twice = replace(
        many,
        matrix=np.concatenate([many.matrix, many.matrix]),
        label=np.concatenate([many.label, many.label]),
    )
    curves, heavier = fit(samples).curves, fit([twice, *samples[1:]]).curves
    for name in (AGE, RECENCY):
        assert heavier[name].log_odds == pytest.approx(curves[name].log_odds, abs=0.03)


def test_the_newest_rows_are_used() -> None:
    samples = [tenant(seed) for seed in range(3)]
    long = tenant(0, rows=6000)
    of_others = rows_of(tenant(0, rows=2000, effect=-1.0), slice(None))
    older: Matrix = np.concatenate([of_others.matrix, long.matrix[-4000:]])
    longer = replace(long, matrix=older, label=np.append(of_others.label, long.label[-4000:]))
    assert fit([longer, *samples[1:]]).to_json() == fit([long, *samples[1:]]).to_json()


def test_the_document_is_the_model() -> None:
    samples = [tenant(seed) for seed in range(4)]
    model = fit(samples[:3])
    read = PooledModel.from_json(json.loads(json.dumps(model.to_json())))
    assert read == model
    newcomer = samples[3]
    expected = model.predictor(newcomer).raw(newcomer.matrix)
    assert (read.predictor(newcomer).raw(newcomer.matrix) == expected).all()


@pytest.mark.parametrize(
    "damage",
    [
        {"curves": None},
        {"curves": {"secret": {"edges": [1.0], "log_odds": [0.0, 0.0, 0.0]}}},
        {"curves": {AGE: {"edges": [1.0, 0.5], "log_odds": [0.0, 0.0, 0.0, 0.0]}}},
        {"curves": {AGE: {"edges": [1.0], "log_odds": [0.0, 0.0]}}},
        {"curves": {AGE: {"edges": [1.0], "log_odds": [0.0, "high", 0.0]}}},
        {"curves": {AGE: {"edges": [1.0], "log_odds": [0.0, float("nan"), 0.0]}}},
        {"curves": {AGE: {"edges": [1.0]}}},
        {"offset": "low"},
        {"offset": None},
        {"spread": 0.0},
        {"tenants": 2},
        {"worth": {"log_loss": 0.5}},
        {"worth": {"log_loss": 0.5, "base_rate": float("inf"), "error": 0.0}},
    ],
)
def test_a_damaged_document_is_one_clear_error(damage: dict[str, Any]) -> None:
    document = fit(tenant(seed) for seed in range(3)).to_json()
    with pytest.raises(ValueError, match=r"the pooled model is damaged .*fit it again"):
        PooledModel.from_json({**document, **damage})
    incomplete = {key: value for key, value in document.items() if key not in damage}
    with pytest.raises(ValueError, match="the pooled model is damaged"):
        PooledModel.from_json(incomplete)
