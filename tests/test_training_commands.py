"""The commands of trainings and of what a tenant decides, where no training has to run."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestration.cli import app
from tests.running import temporary_home
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError

Galena = Callable[..., Result]


def _invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """No installation's variables before, and none left behind: a command sets those of Dagster."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("GALENA")]:
        del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def galena(
    urls: Urls,
    dagster_url: str,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Galena:
    """Run the command on a database with the tenant acme."""
    for name, value in (
        ("GALENA_HOME", str(tmp_path / "home")),
        ("GALENA_DATABASE_URL", urls.app),
        ("GALENA_DAGSTER_DATABASE_URL", dagster_url),
    ):
        monkeypatch.setenv(name, value)
    tenants.add(database, "acme")
    return _invoke


def _refused(result: Result, words: str) -> None:
    assert isinstance(result.exception, GalenaError), result.output
    assert re.search(words, str(result.exception)), result.exception


def test_settings_are_printed_edited_and_hold(galena: Galena, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(galena("tenant", "settings", "acme").stdout.replace(": 30", ": 7"))
    assert "goes by acme.yaml" in galena("tenant", "configure", "acme", "--file", str(file)).stdout
    assert "after_days: 7" in galena("tenant", "settings", "acme").stdout
    file.write_text("retraining: {after_days: soon}")
    _refused(galena("tenant", "configure", "acme", "--file", str(file)), "after_days: got 'soon'")
    assert "after_days: 7" in galena("tenant", "settings", "acme").stdout
    _refused(galena("tenant", "settings", "brio"), "no tenant 'brio'")


def test_a_queued_training_is_shown_and_cancelled(galena: Galena) -> None:
    asked = ("train", "acme", "--algorithm", "random_forest", "--trials", "9", "--detach")
    (job_id,) = re.findall(r"queued as job (\w+)", galena(*asked).stdout)
    assert re.search(rf"acme +{job_id} +queued +0%", galena("jobs").stdout)
    details = galena("job", "acme", job_id).stdout
    assert "trials 9, promote True, algorithms ['random_forest']" in details
    _refused(galena("job", "acme", job_id, "--delete"), "is queued: `galena cancel acme")
    _refused(galena("train", "acme", "--again", job_id), "goes on by itself")
    assert f"Job {job_id} is cancelled." in galena("cancel", "acme", job_id).stdout
    assert f"Job {job_id} is gone." in galena("job", "acme", job_id, "--delete").stdout
    assert "There was no training yet." in galena("jobs", "acme").stdout


def test_a_file_is_reported_row_by_row(galena: Galena, tmp_path: Path) -> None:
    rows = [
        f"{number},2026-01-{1 + number % 28:02},{'' if number % 2 else '2026-03-01'},x"
        for number in range(40)
    ]
    file = tmp_path / "old.csv"
    file.write_text("\n".join(["lead_id,created_at,converted_at,industry", *rows, "40,soon,,x"]))
    said = galena("train", "acme", "--data", str(file), "--detach").stdout
    assert "old.csv: 41 rows read, 40 leads, 1 set aside" in said
    assert "set aside: 1 x created_at cannot be read" in said
    assert "is queued as job" in said
    _refused(galena("train", "acme", "--data", str(tmp_path / "none.csv")), "cannot be read")


def test_what_is_wrong_is_named(galena: Galena) -> None:
    _refused(galena("train"), "TENANT is missing")
    _refused(galena("train", "brio"), "no tenant 'brio'")
    _refused(galena("train", "acme", "--algorithm", "magic"), "got 'magic'; expected one of boost")
    _refused(galena("cancel", "acme", "none"), "has no training job 'none'")
    assert "No tenant is due" in galena("train", "--due").stdout


def test_without_galena_up_a_training_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_home() as home:
        monkeypatch.setenv("GALENA_HOME", str(home))
        _invoke("migrate")
        _invoke("tenant", "add", "acme")
        asked = _invoke("train", "acme")
        assert "It starts while `galena up` runs, which it does not now." in asked.stdout
        (job_id,) = re.findall(r"queued as job (\w+)", asked.stdout)
        assert "queued, 0%" in _invoke("job", "acme", job_id, "--follow").stdout
