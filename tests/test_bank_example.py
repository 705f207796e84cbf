"""The tenant `bank`: the calls as published, dated and split as the example says."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from examples import bank


@pytest.fixture(scope="module")
def calls() -> pl.DataFrame:
    return bank.calls()


@pytest.fixture(scope="module")
def leads() -> pl.DataFrame:
    return bank.leads()


@pytest.fixture(scope="module")
def attributes(leads: pl.DataFrame) -> pl.DataFrame:
    return leads["attributes"].str.json_decode(infer_schema_length=None).struct.unnest()


def test_every_call_is_a_lead_in_file_order(calls: pl.DataFrame, leads: pl.DataFrame) -> None:
    assert calls.shape == (41_188, 21)
    assert leads.height == 41_188
    assert leads["lead_id"][0] == "call-00001"
    assert leads["lead_id"][-1] == "call-41188"
    assert leads["lead_id"].is_unique().all()


def test_the_dates_are_those_of_the_file(calls: pl.DataFrame, leads: pl.DataFrame) -> None:
    created_at = leads["created_at"]
    assert (created_at.diff().drop_nulls() > timedelta(0)).all()
    assert (created_at.dt.strftime("%b").str.to_lowercase() == calls["month"]).all()
    assert (created_at.dt.strftime("%a").str.to_lowercase() == calls["day_of_week"]).all()
    assert created_at.dt.strftime("%Y-%m").unique(maintain_order=True).gather(
        [0, -1]
    ).to_list() == [
        "2008-05",
        "2010-11",
    ]
    assert created_at.dt.hour().is_between(9, 16).all()
    assert (leads["known_at"] == created_at).all()


def test_outcomes_are_those_of_the_file(calls: pl.DataFrame, leads: pl.DataFrame) -> None:
    closed, last = leads.head(-2_000), leads.tail(2_000)
    yes = calls["y"].head(-2_000) == "yes"
    assert (closed["converted_at"].is_not_null() == yes).all()
    assert (closed["closed_at"].is_not_null() == ~yes).all()
    ended_at = closed.select(pl.coalesce("converted_at", "closed_at")).to_series()
    assert ((ended_at - closed["created_at"]) == timedelta(days=1)).all()
    assert last["converted_at"].null_count() == last["closed_at"].null_count() == 2_000


def test_withheld_outcomes_complete_the_open_leads(leads: pl.DataFrame) -> None:
    withheld = bank.withheld_outcomes()
    last = leads.tail(2_000)
    assert withheld.columns == ["lead_id", "at", "converted"]
    assert withheld["lead_id"].to_list() == last["lead_id"].to_list()
    assert ((withheld["at"] - last["created_at"]) == timedelta(days=1)).all()
    assert leads["converted_at"].count() + withheld["converted"].sum() == 4_640


def test_attributes_are_the_columns_known_before_the_outcome(
    calls: pl.DataFrame, attributes: pl.DataFrame
) -> None:
    assert attributes.columns == [c for c in calls.columns if c not in ("y", "duration")]
    assert (attributes["age"] == calls["age"]).all()
    assert (attributes["euribor3m"] == calls["euribor3m"]).all()
    assert (attributes["poutcome"] == calls["poutcome"]).all()


def test_missing_values_are_null(calls: pl.DataFrame, attributes: pl.DataFrame) -> None:
    assert (attributes["pdays"].is_null() == (calls["pdays"] == 999)).all()
    assert (attributes["job"].is_null() == (calls["job"] == "unknown")).all()
    assert attributes["job"].null_count() == 330
    text = attributes.select(pl.col(pl.String))
    assert not (text == "unknown").select(pl.any_horizontal(pl.all())).to_series().any()


def test_the_data_set_names_its_authors_and_licence() -> None:
    attribution = Path(bank.__file__).with_name("ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in ("Moro", "Cortez", "Rita", "Decision Support Systems", "CC BY 4.0", "`duration`"):
        assert words in attribution
