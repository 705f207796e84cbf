"""The page of a model version: what it tells, that it is harmless, and that it is kept."""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from ml import factor_shapes, model_page
from ml.comparison import Difference
from ml.fairness import FairnessReport, GroupFigures
from ml.gate import Check, Gate
from ml.leakage import Suspect
from ml.metrics import CalibrationPoint, Figures
from ml.model_page import Facts
from ml.report import Candidate, HoldOut, Report, Window
from tests.counting_model import MODEL, SPEC, VISITS
from warehouse import model_pages, models, tenants
from warehouse.database import Database
from warehouse.errors import GalenaError

HOSTILE = "<script>alert('x')</script> & \"quoted\" <img src=http://evil.example/x onerror=a()>"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
FIGURES = Figures(auc=0.77, log_loss=0.2574, brier=0.08, ece=0.011, lift10=3.2)
BASE_RATE = Figures(auc=0.5, log_loss=0.3042, brier=0.1, ece=0.0, lift10=1.0)


def report() -> Report:
    """A report with everything in it, and a hostile name wherever a tenant may give one."""
    window = Window(rows=100, converted=10, first=WHEN, last=WHEN)
    return Report(
        lacking=None,
        algorithm="boosted_tables",
        hyperparameters={"boosted_tables": {"rounds": 200}},
        calibration="offset",
        fitted_on=window,
        hold_out=HoldOut(
            validation="rolling windows",
            windows=(window, window),
            model=FIGURES,
            base_rate=BASE_RATE,
            against_base_rate=Difference(-0.0468, -0.06, -0.03),
            window_auc=0.76,
            candidates={
                "boosted_tables": Candidate(FIGURES, 0.76, "offset", None),
                "logistic_regression": Candidate(
                    BASE_RATE, 0.7, "none", Difference(0.02, 0.01, 0.03)
                ),
            },
            importance={HOSTILE: 0.4, "visits": 0.1},
            calibration=(CalibrationPoint(0.1, 0.12, 50, 6), CalibrationPoint(0.5, 0.4, 50, 20)),
            coverage=0.9,
            roc=((0.0, 0.0), (0.5, 0.8), (1.0, 1.0)),
            gains=tuple((i / 20) ** 0.5 for i in range(21)),
        ),
        suspects=(
            Suspect(
                column=HOSTILE, evidence="ranking", figures={"auc": 0.91},
                sentence=f"{HOSTILE} ranks too well",
            ),
        ),
        kept=(HOSTILE,),
        fairness=FairnessReport(
            (
                GroupFigures(HOSTILE, HOSTILE, 100, 10, 0.1, 0.05, 0.15, 0.11, 0.7, 0.1, 0.05, 0.2),
                GroupFigures(HOSTILE, "b", 100, 10, 0.1, 0.05, 0.15, 0.11, None, 0.1, 0.05, 0.2),
            ),
            (),
        ),
        signal=0.001,
    )  # fmt: skip


def facts(metrics: dict[str, Any], gate: dict[str, Any] | None = None) -> Facts:
    return Facts(
        tenant_id="acme",
        name="lead_model",
        version=3,
        stage="own_model",
        outcomes=4_000,
        trained_at=WHEN.isoformat(),
        run_id="run-1",
        sha256="f" * 64,
        metrics=metrics,
        data={"rows": 4_000, "sha256": "e" * 64, "file": HOSTILE},
        configuration={"keep": [HOSTILE], "bands": {HOSTILE: {"edges": [30.0, 45.0]}}},
        gate=gate,
        packages="numpy==2.0\n",
    )


class Elements(HTMLParser):
    """Every element with its attributes, and that each one that opens closes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_tells_what_was_measured_and_asked() -> None:
    metrics = report().to_json()
    gate = Gate((Check("log_loss", True, "lower"), Check("fairness", False, "unfair"))).to_json()
    html = model_page.render(facts(metrics, gate), model_page.pictures(metrics))
    for words in (
        "lead_model version 3 of acme", "0.2574", "0.3042", "-0.0468", "-0.0600", "-0.0300",
        "logistic_regression", "rolling windows", "e" * 64, "f" * 64, "run-1", "numpy==2.0",
        "not passed", "unfair", "ranks too well", "200",
    ):  # fmt: skip
        assert words in html, words
    assert html.count("data:image/png;base64,") == 4


def test_nothing_of_the_tenants_is_markup_and_nothing_is_loaded() -> None:
    metrics = report().to_json()
    html = model_page.render(facts(metrics), model_page.pictures(metrics))
    elements = Elements(html)
    assert elements.open == []
    tags = {tag for tag, _ in elements.found}
    assert tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "h4", "p", "img",
        "table", "tr", "th", "td", "ul", "li",
    }  # fmt: skip
    for tag, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import", html)
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in html, "it is shown"
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"lacking": "3 of 10 outcomes", "hold_out": None, "suspects": []},
        # Of deals: figures of candidates, and no hold-out.
        {
            "lacking": None, "algorithm": "boosted", "deals": 900,
            "model": {"mae": 120.5, "coverage": 0.81}, "median": {"mae": 300.25, "coverage": 0.79},
            "candidates": {"a": {"mae": 120.5}, "b": {"mae": 130.0}},
            "importance": {"size": 0.5, HOSTILE: 0.1},
        },
        # Of segments: a list of profiles.
        {
            "customers": 400, "segments": 2, "silhouette": 0.4, "criterion": {"1": -3.5, "2": -3.1},
            "profiles": [
                {"segment": 0, "name": HOSTILE, "typical": {"seats": "3 to 9", HOSTILE: "yes"}},
                {"segment": 1, "name": "large", "typical": {}},
            ],
        },
    ],
)  # fmt: skip
def test_any_kind_of_model_has_a_page(metrics: dict[str, Any]) -> None:
    html = model_page.render(facts(metrics), model_page.pictures(metrics))
    elements = Elements(html)
    assert elements.open == []
    assert "script" not in {tag for tag, _ in elements.found}
    for value in ("120.5", "300.2", "3 to 9", "3 of 10 outcomes"):
        assert (value in html) == (value[:5] in str(metrics))


def test_a_page_is_stored_with_its_version_and_read_whole(database: Database) -> None:
    for tenant_id in ("acme", "brio"):
        tenants.add(database, tenant_id)
    with database.tenant("acme") as connection:
        version = models.register(
            connection, "acme", MODEL, metrics=report().to_json(), run_id="run-1"
        )
        with pytest.raises(GalenaError, match="has no page"):
            model_pages.find(connection, "acme", version)
    first = model_pages.make(database, "acme", version)
    assert model_pages.make(database, "acme", version) == first, "made again it is the same"
    with database.tenant("acme") as connection:
        assert model_pages.find(connection, "acme", version) == first
    with database.tenant("brio") as connection:
        for tenant_id in ("acme", "brio"):
            with pytest.raises(GalenaError, match="no model version"):
                model_pages.find(connection, tenant_id, version)
    with database.tenant("acme") as connection:
        connection.execute(text("UPDATE ml.model_pages SET html = html || '<script>'"))
        with pytest.raises(GalenaError, match="sha256 differs"):
            model_pages.find(connection, "acme", version)


def test_shapes_follow_the_values_that_a_person_sees() -> None:
    matrix = np.zeros((80, len(SPEC.features)), dtype=np.float32)
    matrix[:, VISITS] = np.repeat(np.arange(8), 10)
    matrix[:5, VISITS] = np.nan
    (shape,) = factor_shapes.shapes(MODEL, matrix, ["visits"])
    assert sum(shape.rows) == 80
    assert shape.values[0].startswith("0 to")
    assert shape.values[-1] == "missing"
    assert shape.rows[-1] == 5
    assert set(shape.contribution) == {0.0}
    assert asdict(shape)["factor"] == "visits"
