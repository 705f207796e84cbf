"""`galena model`, as a person uses it."""

import re
from pathlib import Path

import pytest

from tests.commands import Galena, refused
from tests.counting_model import MODEL
from warehouse import models
from warehouse.database import Database


@pytest.fixture
def versions(galena: Galena, database: Database) -> Galena:
    """Two versions of acme's, none of which serves yet."""
    with database.tenant("acme") as connection:
        for _ in range(2):
            models.register(connection, "acme", MODEL, metrics={}, run_id="run")
    return galena


def test_versions_are_listed_shown_and_described(versions: Galena) -> None:
    assert len(re.findall("lead_model +registered", versions("model", "list", "acme").stdout)) == 2
    assert "Noted" in versions("model", "describe", "acme", "2", "without the old form").stdout
    shown = versions("model", "show", "acme", "2").stdout
    for words in ("2 of lead_model", "without the old form", "visits (numeric)", "sha256"):
        assert words in shown
    refused(versions("model", "show", "acme", "9"), "no model version 9: `galena model list acme`")
    refused(versions("model", "list", "brio"), "no tenant 'brio'")
    refused(versions("model", "list", "acme", "--name", "churn"), "closest is 'customer_churn'")
    assert "no such model" in versions("model", "list", "acme", "--name", "deal_value").stdout


def test_a_version_is_deployed_and_rolled_back_and_the_history_tells_it(versions: Galena) -> None:
    for version in ("1", "2"):
        assert "serves acme" in versions("model", "deploy", "acme", version, "--why", "new").stdout
    refused(versions("model", "deploy", "acme", "2"), "of tenant 'acme' serves already")
    refused(versions("model", "retire", "acme", "2"), "is deployed")
    assert "Version 1 serves acme" in versions("model", "rollback", "acme").stdout
    refused(versions("model", "rollback", "acme"), "no version of lead_model before")
    assert "is retired" in versions("model", "retire", "acme", "2", "--why", "bad").stdout
    listed = versions("model", "list", "acme").stdout
    assert re.search("1 +lead_model +deployed", listed)
    assert re.search("2 +lead_model +retired", listed)
    told = versions("model", "history", "acme").stdout
    decided = re.findall("(champion|rollback|retire) +lead_model", told)
    assert decided == ["champion", "champion", "rollback", "champion", "retire"]


def test_a_version_is_approved(versions: Galena, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    settings = versions("tenant", "settings", "acme").stdout
    file.write_text(settings.replace("approval: false", "approval: true"))
    versions("tenant", "configure", "acme", "--file", str(file))
    refused(versions("model", "deploy", "acme", "1"), "`galena model approve acme 1`")
    assert "galena model deploy acme 1" in versions("model", "approve", "acme", "1").stdout
    refused(versions("model", "approve", "acme", "1"), "was approved by")
    assert "serves acme" in versions("model", "deploy", "acme", "1").stdout


def test_a_page_is_written_where_there_is_one(versions: Galena, tmp_path: Path) -> None:
    refused(
        versions("model", "page", "acme", "1", "--out", str(tmp_path / "page.html")),
        "version 1 of .* has no page",
    )
    refused(versions("model", "quality", "brio"), "no tenant 'brio'")
    assert "No scores of acme have matured" in versions("model", "quality", "acme").stdout
