"""The commands of trainings and of what a tenant decides, where no training has to run."""

import re
from pathlib import Path

import pytest

from tests.commands import Galena, invoke, refused
from tests.running import temporary_home


def test_settings_are_printed_edited_and_hold(galena: Galena, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(galena("tenant", "settings", "acme").stdout.replace(": 30", ": 7"))
    assert "goes by acme.yaml" in galena("tenant", "configure", "acme", "--file", str(file)).stdout
    assert "after_days: 7" in galena("tenant", "settings", "acme").stdout
    file.write_text("retraining: {after_days: soon}")
    refused(galena("tenant", "configure", "acme", "--file", str(file)), "after_days: got 'soon'")
    assert "after_days: 7" in galena("tenant", "settings", "acme").stdout
    refused(galena("tenant", "settings", "brio"), "no tenant 'brio'")


def test_a_queued_training_is_shown_and_cancelled(galena: Galena) -> None:
    asked = ("train", "acme", "--algorithm", "random_forest", "--trials", "9", "--detach")
    (job_id,) = re.findall(r"queued as job (\w+)", galena(*asked).stdout)
    assert re.search(rf"acme +{job_id} +queued +0%", galena("jobs").stdout)
    details = galena("job", "acme", job_id).stdout
    assert "trials 9, promote True, algorithms ['random_forest']" in details
    refused(galena("job", "acme", job_id, "--delete"), "is queued: `galena cancel acme")
    refused(galena("train", "acme", "--again", job_id), "goes on by itself")
    assert f"Job {job_id} is cancelled." in galena("cancel", "acme", job_id).stdout
    assert f"Job {job_id} is gone." in galena("job", "acme", job_id, "--delete").stdout
    assert "There was no training yet." in galena("jobs", "acme").stdout


def test_another_model_is_trained_by_its_name(galena: Galena) -> None:
    asked = galena("train", "acme", "--model", "deal_value", "--detach")
    assert asked.exit_code == 0, asked.output
    assert re.search(r"acme +\w{12} +queued .*deal_value", galena("jobs").stdout)
    refused(galena("train", "acme", "--model", "churn"), "closest is 'customer_churn'")
    refused(
        galena("train", "acme", "--model", "deal_value", "--trials", "5"),
        "--model deal_value: leave out the other options",
    )


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
    refused(galena("train", "acme", "--data", str(tmp_path / "none.csv")), "cannot be read")


def test_what_is_wrong_is_named(galena: Galena) -> None:
    refused(galena("train"), "TENANT is missing")
    refused(galena("train", "brio"), "no tenant 'brio'")
    refused(galena("train", "acme", "--algorithm", "magic"), "got 'magic'; expected one of boost")
    refused(galena("cancel", "acme", "none"), "has no training job 'none'")
    assert "No tenant is due" in galena("train", "--due").stdout


@pytest.mark.usefixtures("own_environment")
def test_without_galena_up_a_training_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_home() as home:
        monkeypatch.setenv("GALENA_HOME", str(home))
        invoke("migrate")
        invoke("tenant", "add", "acme")
        asked = invoke("train", "acme")
        assert "It starts while `galena up` runs, which it does not now." in asked.stdout
        (job_id,) = re.findall(r"queued as job (\w+)", asked.stdout)
        assert "queued, 0%" in invoke("job", "acme", job_id, "--follow").stdout
