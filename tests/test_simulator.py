"""The simulator: its rows could be a CRM's, its process is the stated one, its oracle is right."""

import tomllib
from collections import Counter
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from examples import simulator
from examples.simulator import (
    PROFILES,
    Change,
    SimulatedCrm,
    live_changes,
    open_leads,
    oracle_probability,
    simulate,
)
from examples.simulator.process import FADING, FADING_LIMIT, LOSS_PER_DAY, OpenLeads
from examples.simulator.standing import standing

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = NOW - timedelta(days=180)
MONTH = timedelta(days=30)
SNAPSHOT = NOW - timedelta(days=45)
TABLES = ("leads", "attribute_changes", "customers", "deals", "interactions")
ACME = replace(PROFILES["acme"], leads=6_000, customers=1_000)


@pytest.fixture(scope="module")
def crm() -> SimulatedCrm:
    return simulate(ACME, 3, NOW)


@pytest.fixture(scope="module")
def judged(crm: SimulatedCrm) -> pl.DataFrame:
    """The leads open at SNAPSHOT: label (converted within a month), best (oracle), attributes."""
    leads = open_at(crm, SNAPSHOT)
    return leads.with_columns(
        decoded(leads["attributes"]),
        best=pl.Series(oracle_probability(crm, leads["lead_id"], SNAPSHOT)),
    )


def open_at(crm: SimulatedCrm, at: datetime) -> pl.DataFrame:
    ended_at = pl.coalesce("converted_at", "closed_at")
    still_open = crm.leads.filter(pl.col("created_at") < at, (ended_at > at).fill_null(True))
    return still_open.with_columns(label=(pl.col("converted_at") <= at + MONTH).fill_null(False))


def decoded(attributes: pl.Series) -> pl.DataFrame:
    return attributes.str.json_decode(infer_schema_length=None).struct.unnest()


def phrases(language: str) -> dict[str, Any]:
    file = Path(simulator.__file__).parent / "phrases" / f"{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def standard_errors(happened: float, chances: NDArray[np.float64]) -> float:
    """How far a number of independent events lies from what their chances let expect."""
    return float((happened - chances.sum()) / np.sqrt((chances * (1 - chances)).sum()))


# --- the same arguments give the same rows


def test_the_same_arguments_give_the_same_crm(crm: SimulatedCrm) -> None:
    again = simulate(ACME, 3, NOW)
    for table in TABLES:
        assert_frame_equal(getattr(again, table), getattr(crm, table))
    for field in fields(crm.truth):
        assert_frame_equal(getattr(again.truth, field.name), getattr(crm.truth, field.name))


def test_another_seed_or_name_gives_another_crm(crm: SimulatedCrm) -> None:
    for other in (simulate(ACME, 4, NOW), simulate(replace(ACME, name="zenith"), 3, NOW)):
        assert not (other.leads["attributes"] == crm.leads["attributes"]).all()
        assert not (other.leads["created_at"] == crm.leads["created_at"]).any()


def test_ids_are_unique_and_carry_the_tenant(crm: SimulatedCrm) -> None:
    for ids in (
        crm.leads["lead_id"],
        crm.customers["customer_id"],
        crm.deals["deal_id"],
        crm.interactions["interaction_id"],
    ):
        assert ids.is_unique().all()
        assert ids.str.starts_with("acme-").all()


# --- the rows could be a CRM's


def test_leads_live_between_their_creation_and_one_outcome(crm: SimulatedCrm) -> None:
    leads = crm.leads
    assert leads.height == 6_000
    assert leads["created_at"].is_between(START, NOW).all()
    assert leads["created_at"].is_sorted()
    assert (leads["known_at"] == leads["created_at"]).all()
    assert not (leads["converted_at"].is_not_null() & leads["closed_at"].is_not_null()).any()
    ended_at = leads.select(pl.coalesce("converted_at", "closed_at")).to_series()
    assert (ended_at > leads["created_at"]).all()
    assert (ended_at <= NOW).all()
    assert 0 < ended_at.null_count() < leads.height


def test_leads_act_only_while_they_are_open(crm: SimulatedCrm) -> None:
    acts = crm.interactions.join(crm.leads, on="lead_id", suffix="_lead")
    ended_at = pl.coalesce("converted_at", "closed_at").fill_null(NOW)
    assert acts.height > crm.leads.height
    assert acts.select((pl.col("created_at") <= pl.col("occurred_at")).all()).item()
    assert acts.select((pl.col("occurred_at") < ended_at).all()).item()


def test_customers_act_only_while_they_stay(crm: SimulatedCrm) -> None:
    acts = crm.interactions.join(crm.customers, on="customer_id", suffix="_customer")
    assert acts.height > crm.customers.height
    assert (acts["created_at"] <= acts["occurred_at"]).all()
    assert (acts["occurred_at"] < acts["churned_at"].fill_null(NOW)).all()
    assert (acts["occurred_at"] >= START).all()


def test_every_interaction_belongs_to_one_lead_or_customer(crm: SimulatedCrm) -> None:
    acts = crm.interactions
    assert (acts["lead_id"].is_null() ^ acts["customer_id"].is_null()).all()
    assert acts["lead_id"].drop_nulls().is_in(crm.leads["lead_id"].implode()).all()
    assert acts["customer_id"].drop_nulls().is_in(crm.customers["customer_id"].implode()).all()
    assert acts["occurred_at"].is_sorted()
    assert (acts["known_at"] == acts["occurred_at"]).all()


def test_those_who_convert_become_customers_with_a_deal(crm: SimulatedCrm) -> None:
    converted = crm.leads.drop_nulls("converted_at").sort("lead_id")
    customers = crm.customers.drop_nulls("lead_id").sort("lead_id")
    won = crm.deals.filter("won").sort("lead_id")
    assert customers["lead_id"].to_list() == converted["lead_id"].to_list()
    assert customers["created_at"].to_list() == converted["converted_at"].to_list()
    assert won["lead_id"].to_list() == converted["lead_id"].to_list()
    assert won["customer_id"].to_list() == customers["customer_id"].to_list()
    assert won["closed_at"].to_list() == converted["converted_at"].to_list()
    assert crm.customers.height - customers.height == 1_000


def test_deals_end_with_their_lead(crm: SimulatedCrm) -> None:
    deals = crm.deals.join(crm.leads, on="lead_id", suffix="_lead")
    assert deals.height == crm.deals.height
    assert set(deals["stage"]) == {"won", "lost", "qualified", "proposal", "negotiation"}
    assert (deals["created_at"] >= deals["created_at_lead"]).all()
    ended_at = deals.select(pl.coalesce("converted_at", "closed_at_lead")).to_series()
    assert deals["closed_at"].eq_missing(ended_at).all()
    assert (deals["closed_at"].is_null() == deals["won"].is_null()).all()
    assert (deals["amount"].is_null() == (deals["stage"] == "qualified")).all()


def test_attributes_are_of_every_type_with_gaps_and_rare_values(crm: SimulatedCrm) -> None:
    attributes = decoded(crm.leads["attributes"])
    names = [column.name for column in ACME.columns]
    assert attributes.columns == [*names, "notes", "trial_started"]
    assert attributes["employees"].dtype == pl.Int64
    assert attributes["monthly_budget"].dtype == pl.Float64
    assert attributes["newsletter"].dtype == pl.Boolean
    days = crm.leads["created_at"].dt.date() - attributes["website_first_visit"].str.to_date()
    assert days.drop_nulls().is_between(timedelta(0), timedelta(days=120)).all()
    for name in ("industry", "employees", "job_level", "monthly_budget", "website_first_visit"):
        assert 0 < attributes[name].null_count() < 0.4 * attributes.height
    assert 0 < (attributes["industry"] == "space").sum() < 0.02 * attributes.height


def test_leads_of_an_account_share_its_attributes(crm: SimulatedCrm) -> None:
    leads = crm.leads.select("account_id").with_columns(decoded(crm.leads["attributes"]))
    shared = leads.drop_nulls("account_id").group_by("account_id")
    values = shared.agg(pl.len(), pl.col("industry", "employees", "job_level").n_unique())
    assert (values["len"] > 1).any()
    assert values.select(pl.col("industry", "employees").max()).row(0) == (1, 1)
    assert values["job_level"].max() != 1
    alone = leads.filter(pl.col("account_id").is_null())
    assert alone.height > 0
    assert alone["employees"].null_count() == alone.height


def test_attribute_changes_are_later_versions_of_their_leads(crm: SimulatedCrm) -> None:
    changes = crm.attribute_changes.join(crm.leads, on="lead_id", suffix="_before")
    assert crm.attribute_changes.columns == crm.leads.columns
    assert 0 < changes.height < crm.leads.height
    assert not decoded(crm.leads["attributes"])["trial_started"].any()
    before, after = (
        decoded(changes[name]).drop("trial_started") for name in ("attributes_before", "attributes")
    )
    assert_frame_equal(before, after)
    assert decoded(changes["attributes"])["trial_started"].all()
    ended_at = pl.coalesce("converted_at", "closed_at").fill_null(NOW)
    lasting = changes.select(pl.col("known_at").is_between("created_at", ended_at).all())
    assert lasting.item()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_each_tenant_writes_in_its_language(profile: simulator.TenantProfile) -> None:
    crm = simulate(replace(profile, leads=300, customers=60), 1, NOW)
    silent = [kind.name for kind in profile.kinds if kind.style is None]
    acts = crm.interactions
    assert (acts["text"].is_null() == acts["kind"].is_in(silent)).all()
    assert set(acts["kind"]) == {kind.name for kind in profile.kinds}
    texts = acts["text"].drop_nulls()
    assert texts.n_unique() > 0.8 * len(texts)
    assert not texts.str.contains(r"[{}]").any()
    own = phrases(profile.language)["customer"]["sentiment"]["neutral"]
    assert sum(texts.str.contains(sentence, literal=True).sum() for sentence in own) > 10


def test_tenants_differ_in_size_columns_and_base_rate() -> None:
    rates = {}
    for profile in PROFILES.values():
        crm = simulate(replace(profile, leads=max(profile.leads, 3_000)), 2, NOW)
        rates[profile.name] = float(open_at(crm, SNAPSHOT)["label"].mean())  # type: ignore[arg-type]
    assert 0.02 < min(rates.values()) < 0.06
    assert 0.12 < max(rates.values()) < 0.25
    assert len({profile.leads for profile in PROFILES.values()}) == len(PROFILES)
    columns = [{column.name for column in profile.columns} for profile in PROFILES.values()]
    assert not set.intersection(*columns)


# --- the process is the stated one


def test_the_chance_to_convert_is_the_stated_one() -> None:
    kinds = tuple(replace(kind, per_day=0.0) for kind in ACME.kinds)
    profile = replace(ACME, kinds=kinds, milestone=replace(ACME.milestone, per_day=0.0))
    calls, page_views = (
        next(k for k in ACME.kinds if k.name == name) for name in ("call", "page_view")
    )
    counts = np.zeros((20, len(kinds), 2), np.int16)
    counts[3, kinds.index(replace(calls, per_day=0.0)), 0] = 2
    counts[[2, 8], kinds.index(replace(page_views, per_day=0.0)), 0] = 4
    leads = OpenLeads(
        profile,
        score=np.array([0.7, 0.7]),
        age=np.array([50, 50]),
        passed=np.array([True, False]),
        quiet=np.array([2, 40]),
        days=list(counts),
    )
    leads.live_a_day(np.random.default_rng(0))
    base = np.log(ACME.daily_conversion / (1 - ACME.daily_conversion)) + 0.7
    acted = calls.weight * np.log1p(2) + page_views.weight * np.log1p(4) - FADING * 3
    passed = ACME.milestone.weight
    log_odds = np.array([base + acted + passed, base - FADING * FADING_LIMIT])
    assert leads.conversion_chance() == pytest.approx(1 / (1 + np.exp(-log_odds)))


def test_leads_are_lost_at_the_stated_rate_whatever_their_score(crm: SimulatedCrm) -> None:
    leads = crm.leads.join(crm.truth.leads, on="lead_id")
    ended_at = pl.coalesce("converted_at", "closed_at").fill_null(NOW)
    days = (ended_at - pl.col("created_at")).dt.total_days()
    for promising in (pl.col("score") > pl.col("score").median(), pl.col("score") < 0.5):
        some = leads.filter(promising).select(days.alias("days"), "closed_at")
        chances = np.full(int(some["days"].sum()), LOSS_PER_DAY)
        assert abs(standard_errors(some["closed_at"].count(), chances)) < 4


def test_customers_leave_at_the_stated_rate() -> None:
    crm = simulate(replace(ACME, leads=100, customers=8_000), 1, NOW)
    factors = {"positive": 0.6, "neutral": 1.0, "negative": 2.5}
    customers = crm.customers.join(crm.truth.customers, on="customer_id").join(
        crm.truth.sentiment_turns, on="customer_id", how="left"
    )
    ratio = pl.col("from").replace_strict(factors) / pl.col("to").replace_strict(factors)
    begins, ends = (
        pl.max_horizontal("created_at", pl.lit(START)),
        pl.col("churned_at").fill_null(NOW),
    )
    turns = pl.col("at").fill_null(begins)
    days = [
        (late - early).dt.total_seconds() / 86_400
        for early, late in ((begins, turns), (turns, ends))
    ]
    expected = customers.select(
        rate=pl.col("churn_per_day") * (days[0] * ratio.fill_null(0) + days[1]), left="churned_at"
    )
    left, rate = expected["left"].count(), float(expected["rate"].sum())
    assert left > 100
    assert abs(left - rate) < 4 * np.sqrt(rate)
    angry = customers.filter(pl.col("to") == "negative").select(
        rate=pl.col("churn_per_day") * days[1], left="churned_at"
    )
    left, rate = angry["left"].count(), float(angry["rate"].sum())
    assert left > 100
    assert abs(left - rate) < 4 * np.sqrt(rate)


def test_deals_bring_what_is_expected_of_them_on_average(crm: SimulatedCrm) -> None:
    deals = crm.deals.drop_nulls("amount").join(crm.truth.leads, on="lead_id")
    relative = (deals["amount"] / deals["expected_amount"]).to_numpy()
    assert abs(relative.mean() - 1) < 4 * relative.std() / np.sqrt(len(relative))
    assert deals["expected_amount"].std() > 0.2 * deals["expected_amount"].mean()  # type: ignore[operator]


# --- the truth is planted in the rows


def test_texts_show_the_sentiment_of_their_day(crm: SimulatedCrm) -> None:
    turned = crm.truth.sentiment_turns.filter(
        (pl.col("from") == "positive") & (pl.col("to") == "negative")
    )
    texts = crm.interactions.join(turned, on="customer_id").drop_nulls("text")
    earlier = texts["occurred_at"] < texts["at"]
    said = phrases("en")["customer"]["sentiment"]
    glad, angry = (
        texts["text"].str.contains_any(said[mood], ascii_case_insensitive=False)
        for mood in ("positive", "negative")
    )
    assert glad.sum() > 20
    assert angry.sum() > 20
    assert earlier.filter(glad).all()
    assert not earlier.filter(angry).any()


def test_texts_name_the_pain_points_of_their_customer(crm: SimulatedCrm) -> None:
    texts = crm.interactions.join(crm.truth.customers, on="customer_id").drop_nulls("text")
    for pain, sentences in phrases("en")["customer"]["pain"].items():
        names_it = texts["text"].str.contains_any(sentences)
        assert names_it.sum() > 20
        assert texts.filter(names_it)["pain_points"].list.contains(pain).all()


def test_segments_differ_in_what_they_pay(crm: SimulatedCrm) -> None:
    paid = crm.truth.customers.with_columns(decoded(crm.customers["attributes"]))
    medians = paid.group_by("segment").agg(pl.col("monthly_value").median()).sort("monthly_value")
    assert medians["segment"].to_list() == ["thrifty", "fading", "steady", "growing"]


# --- the oracle


def test_the_oracle_is_calibrated(judged: pl.DataFrame) -> None:
    assert judged.height > 1_500
    third = judged.height // 3
    for part in (judged, *judged.sort("best").iter_slices(third)):
        assert abs(standard_errors(part.filter("label").height, part["best"].to_numpy())) < 3.5


def test_the_oracle_ranks_better_than_anything_simpler(
    crm: SimulatedCrm, judged: pl.DataFrame
) -> None:
    label = judged["label"]
    best = roc_auc_score(label, judged["best"])
    score = judged.join(crm.truth.leads, on="lead_id", maintain_order="left")["score"]
    assert 0.75 < best < 0.88
    assert best > roc_auc_score(label, score) + 0.01
    assert best > roc_auc_score(label, judged["monthly_budget"].fill_null(0)) + 0.1
    assert abs(roc_auc_score(label, judged["best"].shuffle(seed=0)) - 0.5) < 0.06


def test_the_oracle_knows_nothing_later_than_the_snapshot(
    crm: SimulatedCrm, judged: pl.DataFrame
) -> None:
    then = replace(
        crm,
        leads=crm.leads.with_columns(
            pl.when(pl.col(name) <= SNAPSHOT).then(name) for name in ("converted_at", "closed_at")
        ),
        attribute_changes=crm.attribute_changes.filter(pl.col("known_at") < SNAPSHOT),
        interactions=crm.interactions.filter(pl.col("occurred_at") < SNAPSHOT),
    )
    assert (
        oracle_probability(then, judged["lead_id"], SNAPSHOT).tolist() == judged["best"].to_list()
    )


def test_the_oracle_uses_what_happened_before_the_snapshot(
    crm: SimulatedCrm, judged: pl.DataFrame
) -> None:
    blind = replace(crm, interactions=crm.interactions.clear())
    guess = oracle_probability(blind, judged["lead_id"], SNAPSHOT)
    assert roc_auc_score(judged["label"], guess) < roc_auc_score(judged["label"], judged["best"])


def test_the_oracle_is_exact_where_nothing_happens() -> None:
    kinds = tuple(replace(kind, per_day=1e-12) for kind in ACME.kinds)
    still = replace(ACME, leads=50, kinds=kinds, milestone=replace(ACME.milestone, per_day=0.0))
    crm = simulate(still, 1, NOW)
    leads = open_at(crm, SNAPSHOT).join(crm.truth.leads, on="lead_id", maintain_order="left")
    age = (SNAPSHOT - leads["created_at"]).dt.total_days().to_numpy()
    base = np.log(ACME.daily_conversion / (1 - ACME.daily_conversion))
    expected, still_open = np.zeros(len(leads)), np.ones(len(leads))
    for day in range(1, 8):
        log_odds = base + leads["score"].to_numpy() - FADING * np.minimum(age + day, FADING_LIMIT)
        chance = 1 / (1 + np.exp(-log_odds))
        expected += still_open * chance
        still_open *= (1 - chance) * (1 - LOSS_PER_DAY)
    given = oracle_probability(crm, leads["lead_id"], SNAPSHOT, horizon_days=7, ways=2)
    assert given == pytest.approx(expected)


def test_leads_stand_where_their_rows_say(crm: SimulatedCrm) -> None:
    leads = open_at(crm, SNAPSHOT).filter(pl.col("created_at") < SNAPSHOT - timedelta(days=3))[::40]
    found = standing(crm, leads["lead_id"], SNAPSHOT)
    kinds = [kind.name for kind in ACME.kinds]
    counts = np.zeros_like(found.days)
    quiet = []
    for position, (lead_id, created_at) in enumerate(leads.select("lead_id", "created_at").rows()):
        today = (SNAPSHOT - created_at) // timedelta(days=1)
        acts = crm.interactions.filter(lead_id=lead_id).filter(pl.col("occurred_at") < SNAPSHOT)
        ago = [today - (at - created_at) // timedelta(days=1) for at in acts["occurred_at"]]
        for days, kind in zip(ago, acts["kind"], strict=True):
            if days <= 30:
                counts[days, kinds.index(kind), position] += 1
        quiet.append(min([days - 1 for days in ago if days > 0], default=today))
    assert counts.sum() > 100
    assert (found.days == counts).all()
    going, acts_today, _ = found.finish_day(ACME, np.random.default_rng(0))
    idle = ~(acts_today + counts[0]).any(axis=0)
    expected = np.where(idle, np.array(quiet) + 1, 0)
    assert np.minimum(going.quiet, 30).tolist() == np.minimum(expected, 30).tolist()


def test_the_oracle_refuses_a_lead_that_is_not_open(crm: SimulatedCrm) -> None:
    lost = crm.leads.drop_nulls("closed_at").head(1)
    with pytest.raises(ValueError, match=f"{lost['lead_id'][0]} is not open"):
        oracle_probability(crm, lost["lead_id"], lost["closed_at"])
    with pytest.raises(ValueError, match="is not open"):
        oracle_probability(crm, lost["lead_id"], START)


def test_noise_columns_say_nothing_about_the_outcome(crm: SimulatedCrm) -> None:
    assert ACME.noise_columns == ("country", "form_seconds", "sales_region", "notes")
    leads = crm.leads.with_columns(decoded(crm.leads["attributes"]))
    assert association(leads, pl.col("form_seconds").rank() * 4 // leads.height) < 3.5
    assert association(leads, pl.col("sales_region")) < 3.5
    assert association(leads, pl.col("monthly_budget").rank() * 4 // leads.height) > 5
    assert association(leads, pl.col("lead_source")) > 5


def association(leads: pl.DataFrame, value: pl.Expr) -> float:
    """The largest deviation, in standard errors, of a value's conversions from all leads'."""
    rate = leads["converted_at"].count() / leads.height
    groups = leads.group_by(value.alias("value")).agg(pl.len(), pl.col("converted_at").count())
    return max(
        abs(standard_errors(converted, np.full(n, rate))) for _, n, converted in groups.iter_rows()
    )


# --- what happens next, and volume


def test_live_changes_are_even_endless_and_repeatable(crm: SimulatedCrm) -> None:
    first = list(islice(live_changes(crm, 1, NOW, 4.0), 3_000))
    assert first == list(islice(live_changes(crm, 1, NOW, 4.0), 3_000))
    assert first != list(islice(live_changes(crm, 2, NOW, 4.0), 3_000))
    assert all(earlier.at <= later.at for earlier, later in pairwise(first))
    assert first[0].at == NOW
    assert abs((first[-1].at - NOW).total_seconds() - 3_000 / 4.0) < 1


def test_live_changes_are_rows_of_the_crm(crm: SimulatedCrm) -> None:
    changes = list(islice(live_changes(crm, 1, NOW, 4.0), 12_000))
    assert {change.table for change in changes} == {"leads", "interactions", "customers", "deals"}
    for change in changes:
        assert set(change.row) == set(getattr(crm, change.table).columns)
        assert change.row["known_at"] == change.at
    acts = [change.row["interaction_id"] for change in changes if change.table == "interactions"]
    assert len({*acts, *crm.interactions["interaction_id"]}) == len(acts) + len(crm.interactions)


def test_live_changes_go_on_from_the_history(crm: SimulatedCrm) -> None:
    ended_at = pl.coalesce("converted_at", "closed_at")
    still_open = set(crm.leads.filter(ended_at.is_null())["lead_id"])
    passed = set(crm.attribute_changes["lead_id"])
    ends: Counter[str] = Counter()
    for change in islice(live_changes(crm, 1, NOW, 4.0), 12_000):
        if change.table not in ("leads", "interactions"):
            continue
        lead_id = change.row["lead_id"]
        if change.row.get("created_at") == change.at:
            still_open.add(lead_id)
        assert lead_id in still_open
        if change.table == "leads":
            started = '"trial_started":true' in change.row["attributes"]
            assert started or lead_id not in passed
            passed |= {lead_id} if started else set()
        if change.row.get("converted_at") or change.row.get("closed_at"):
            still_open.remove(lead_id)
            ends["converted" if change.row["converted_at"] else "closed"] += 1
    assert min(ends["converted"], ends["closed"]) > 20


def test_live_changes_convert_as_many_as_the_oracle_expects(crm: SimulatedCrm) -> None:
    leads = open_at(crm, NOW)["lead_id"]
    chances = oracle_probability(crm, leads, NOW)
    converted = {
        change.row["lead_id"]
        for change in a_month(live_changes(crm, 5, NOW, 1.0), ACME.leads / 180)
        if change.row.get("converted_at")
    }
    assert abs(standard_errors(len(converted & set(leads)), chances)) < 4


def test_new_leads_convert_as_those_before_them_did(crm: SimulatedCrm) -> None:
    months = [START + month * MONTH for month in range(6)]
    soon = [
        crm.leads.filter(pl.col("created_at") >= month, pl.col("converted_at") < month + MONTH)
        for month in months
    ]
    expected = sum(map(len, soon)) / len(soon)
    known = set(crm.leads["lead_id"])
    changes = a_month(live_changes(crm, 5, NOW, 1.0), ACME.leads / 180)
    new = [c for c in changes if c.table == "leads" and c.row["lead_id"] not in known]
    converted = sum(change.row["converted_at"] is not None for change in new)
    assert abs(converted - expected) < 4 * np.sqrt(expected)


def a_month(changes: Any, new_leads_per_day: float) -> list[Change]:
    """The changes up to the time by which as many leads are new as in 30 days on average."""
    month: list[Change] = []
    new = 0
    for change in changes:
        new += change.table == "leads" and change.row["created_at"] == change.at
        if new >= 30 * new_leads_per_day:
            return month
        month.append(change)
    raise AssertionError("the stream ended")


def test_bulk_leads_are_open_and_have_the_columns_of_a_crm(crm: SimulatedCrm) -> None:
    leads, acts = open_leads(ACME, 1, NOW, leads=5_000, interactions=15_000)
    assert (leads.height, acts.height) == (5_000, 15_000)
    assert leads.schema == crm.leads.schema
    assert acts.schema == crm.interactions.schema
    assert leads["converted_at"].count() == leads["closed_at"].count() == 0
    assert acts["interaction_id"].is_unique().all()
    both = acts.join(leads, on="lead_id", suffix="_lead")
    assert both.height == 15_000
    assert both["occurred_at"].is_between(both["created_at"], pl.lit(NOW)).all()
