"""What the command prints of a tenant's scores and of the model behind them."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from orchestration import report
from tests.counting_model import MODEL
from tests.installations import lead_ids, lead_rows
from warehouse import crm, models, tenants
from warehouse.database import Database
from warehouse.scoring import Champions, score_open_leads

FIGURES = {"auc": 0.75, "log_loss": 0.25, "brier": 0.1, "ece": 0.02, "lift10": 3.0}
BASE_RATE = {**FIGURES, "auc": 0.5, "log_loss": 0.3}


def printed(database: Database, metrics: dict[str, Any]) -> str:
    """What is printed of a tenant whose model has these metrics."""
    tenants.add(database, "acme")
    with database.tenant("acme") as connection:
        crm.upsert(connection, "acme", "leads", lead_rows(lead_ids(2)))
        version = models.register(
            connection, "acme", MODEL, feature_set=1, metrics=metrics, run_id="run"
        )
        models.promote(connection, "acme", version, "champion", actor="test", why="test")
    score_open_leads(database, "acme", Champions(), "run")
    console = Console(file=StringIO(), width=1000)
    assert report.tenant_scores(console, database, "acme", 5)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_every_candidates_figures_and_the_one_that_serves_are_printed(database: Database) -> None:
    candidates = {name: {"figures": FIGURES} for name in ("boosted_tables", "logistic_regression")}
    said = printed(
        database,
        {
            "lacking": None,
            "algorithm": "logistic_regression",
            "hold_out": {
                "validation": "rolling windows",
                "candidates": candidates,
                "model": FIGURES,
                "base_rate": BASE_RATE,
            },
        },
    )
    assert "logistic regression AUC 0.750 log-loss 0.2500, base rate log-loss 0.3000" in said
    assert "logistic regression serves" in said


def test_a_model_of_an_earlier_release_is_still_described(database: Database) -> None:
    hold_out = {
        "model": FIGURES,
        "logistic": FIGURES,
        "base_rate": BASE_RATE,
        "window_auc": {"model": 0.6, "logistic": 0.6},
        "slope": 1.0,
    }
    said = printed(database, {"lacking": None, "rounds": 200, "hold_out": hold_out})
    assert "boosted tables AUC 0.750 log-loss 0.2500, base rate log-loss 0.3000" in said


@pytest.mark.parametrize("metrics", [{}, {"lacking": "not trained yet", "hold_out": None}])
def test_a_model_without_figures_says_why(database: Database, metrics: dict[str, Any]) -> None:
    assert f"No model of its own: {metrics.get('lacking')}." in printed(database, metrics)
