"""The simulator: its rows could be a CRM's, its process is the stated one, its oracle is right."""

import json
import tomllib
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
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
from examples.simulator.process import FADING, LOSS_PER_DAY, OpenLeads

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
TABLES = ("leads", "attribute_changes", "customers", "deals", "interactions")
ACME = replace(PROFILES["acme"], leads=6_000, customers=1_000)


@pytest.fixture(scope="module")
def crm() -> SimulatedCrm:
    return simulate(ACME, 3, NOW)


def open_at(crm: SimulatedCrm, at: datetime) -> pl.DataFrame:
    """The leads open at a time, and whether they convert within a month (label)."""
    ended_at = pl.coalesce("converted_at", "closed_at")
    still_open = crm.leads.filter(pl.col("created_at") < at, (ended_at > at).fill_null(True))
    return still_open.with_columns(label=(pl.col("converted_at") <= at + MONTH).fill_null(False))


def decoded(attributes: pl.Series) -> pl.DataFrame:
    return attributes.str.json_decode(infer_schema_length=None).struct.unnest()


def phrases(language: str) -> dict[str, Any]:
    file = Path(simulator.__file__).parent / "phrases" / f"{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def deviation(happened: float, expected: NDArray[np.float64]) -> float:
    """How many standard errors a number of independent events lies from the expected one."""
    return float((happened - expected.sum()) / np.sqrt((expected * (1 - expected)).sum()))


class TestRepeatability:
    def test_the_same_arguments_give_the_same_crm(self, crm: SimulatedCrm) -> None:
        np.random.seed(99)  # noqa: NPY002
        again = simulate(ACME, 3, NOW)
        for table in TABLES:
            assert_frame_equal(getattr(again, table), getattr(crm, table))
        for field in fields(crm.truth):
            assert_frame_equal(getattr(again.truth, field.name), getattr(crm.truth, field.name))

    def test_another_seed_or_name_gives_another_crm(self, crm: SimulatedCrm) -> None:
        seeded, named = simulate(ACME, 4, NOW), simulate(replace(ACME, name="zenith"), 3, NOW)
        for other in (seeded, named):
            assert not (other.leads["attributes"] == crm.leads["attributes"]).all()
        assert not named.leads["lead_id"].is_in(crm.leads["lead_id"].implode()).any()
