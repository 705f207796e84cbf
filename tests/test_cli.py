"""The command, as a user meets it: what it prints, its exit codes, and one sentence per error."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.conftest import in_database
from warehouse.embedded import Urls

Galena = Callable[..., "subprocess.CompletedProcess[str]"]

GOOD_ROWS = "".join(f"{number},2026-01-05,{number % 2 * '2026-02-01'},x\n" for number in range(20))
LEADS = f"lead_id,created_at,converted_at,industry\n{GOOD_ROWS}20,yesterday,,x\n"


@pytest.fixture
def settings(urls: Urls, dagster_url: str, mlflow_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "GALENA_HOME": str(tmp_path / "home"),
        "GALENA_DATABASE_URL": urls.app,
        "GALENA_OWNER_DATABASE_URL": urls.owner,
        "GALENA_DAGSTER_DATABASE_URL": dagster_url,
        "GALENA_MLFLOW_DATABASE_URL": mlflow_url,
    }


@pytest.fixture
def galena(settings: dict[str, str]) -> Galena:
    """Run the command on a fresh migrated database of its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GALENA")}

    def run(*arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(Path(sys.executable).with_name("galena")), *arguments],
            env={**others, "COLUMNS": "80", "TERM": "dumb", **settings, **changed},
            input="",
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def _refused(done: "subprocess.CompletedProcess[str]", words: str, exit_code: int = 1) -> None:
    """It ended with one line that says what is wrong and what to do."""
    assert done.returncode == exit_code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    assert re.search(words, lines[0]), lines[0]


def test_a_tenant_comes_imports_pauses_and_goes(galena: Galena, tmp_path: Path) -> None:
    added = galena("tenant", "add", "acme", "--name", "Acme [Inc.]")
    assert (added.returncode, added.stderr) == (0, "")
    assert "galena import --tenant acme" in added.stdout
    _refused(galena("tenant", "add", "acme"), "a tenant 'acme' already: .* choose another id")

    (tmp_path / "leads.csv").write_text(LEADS)
    imported = galena("import", "--tenant", "acme", str(tmp_path / "leads.csv"))
    assert imported.returncode == 0, imported.stderr
    assert "21 rows read, 20 new or changed, 0 unchanged, 1 set aside" in imported.stdout

    assert re.search(
        r"acme +Acme \[Inc\.\] +active +20 +10 +10 +0 +1", galena("tenant", "list").stdout
    )
    assert "Tenant acme is paused." in galena("tenant", "pause", "acme").stdout
    assert re.search(r"acme +paused +none yet", galena("status").stdout)
    assert "Tenant acme is active." in galena("tenant", "resume", "acme").stdout
    _refused(galena("scores", "acme"), "no scores yet: import its leads and leave `galena up`")

    asked = galena("tenant", "remove", "acme")
    assert asked.returncode == 130, "nobody answered"
    removed = galena("tenant", "remove", "acme", "--yes")
    assert "Tenant acme is gone." in removed.stdout
    assert "acme" not in galena("tenant", "list").stdout


def test_a_readers_url_is_printed_alone(galena: Galena) -> None:
    galena("tenant", "add", "acme-two")
    done = galena("tenant", "reader", "acme-two")
    assert make_url(done.stdout.strip()).username == "galena_reader_acme_two"


@pytest.mark.parametrize(
    "arguments",
    [
        ("scores", "nobody"),
        ("tenant", "pause", "nobody"),
        ("tenant", "resume", "nobody"),
        ("tenant", "remove", "nobody", "--yes"),
        ("tenant", "reader", "nobody"),
    ],
)
def test_an_unknown_tenant_is_named(galena: Galena, arguments: tuple[str, ...]) -> None:
    _refused(galena(*arguments), "There is no tenant 'nobody'; `galena tenant list` shows")


def test_an_id_that_is_none_is_refused(galena: Galena) -> None:
    _refused(galena("tenant", "add", "Acme Inc."), "'Acme Inc.' does not: choose another")


def test_an_import_needs_a_tenant_a_file_and_a_mapping(galena: Galena, tmp_path: Path) -> None:
    leads, mapping = tmp_path / "leads.csv", tmp_path / "mapping.yaml"
    leads.write_text(LEADS)
    mapping.write_text("]")
    galena("tenant", "add", "acme")
    _refused(galena("import", str(leads)), "--tenant is missing")
    _refused(galena("import", "--tenant", "nobody", str(leads)), "no tenant 'nobody'")
    _refused(galena("import", "--tenant", "acme", str(tmp_path / "none.csv")), "none.csv")
    broken = ("--mapping", str(mapping), str(leads))
    _refused(galena("import", "--tenant", "acme", *broken), "mapping.yaml")
    proposed = galena("import", "--propose", str(leads))
    assert proposed.returncode == 0, proposed.stderr
    assert "lead_id" in proposed.stdout


def test_a_database_that_cannot_be_used_is_one_sentence(
    galena: Galena, urls: Urls, new_database: Callable[[str], str]
) -> None:
    wrong = make_url(urls.app).set(password="wrong").render_as_string(hide_password=False)
    unreachable = "postgresql://galena:pass-word@127.0.0.1:1/galena"
    name = new_database("template0")
    way_out = "check GALENA_DATABASE_URL"
    for url, words in (
        (wrong, f"password authentication failed.*{way_out}"),
        (unreachable, f"(refused|reached).*{way_out}"),
        ("mysql://a@b/c", "GALENA_DATABASE_URL is not a usable URL"),
    ):
        done = galena("status", GALENA_DATABASE_URL=url, GALENA_OWNER_DATABASE_URL=url)
        _refused(done, words)
        assert "pass-word" not in done.stderr
    empty = in_database(urls, name)
    new = {"GALENA_DATABASE_URL": empty.app, "GALENA_OWNER_DATABASE_URL": empty.owner}
    _refused(galena("status", **new), "at revision none .* migrate")
    assert "is at revision" in galena("migrate", **new).stdout
    assert galena("status", **new).returncode == 0


def test_a_home_that_cannot_be_made_is_one_sentence(galena: Galena, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = str(tmp_path / "file" / "home")
    _refused(galena("up", "--once", GALENA_HOME=inside), f"{inside}.*Mend that")
    embedded = dict.fromkeys(("DATABASE", "OWNER_DATABASE"), "")
    none = {f"GALENA_{name}_URL": url for name, url in embedded.items()}
    none |= {"GALENA_DAGSTER_DATABASE_URL": "", "GALENA_MLFLOW_DATABASE_URL": ""}
    _refused(galena("status", GALENA_HOME=inside, **none), "cannot hold PostgreSQL.*GALENA_HOME")


def test_help_and_wrong_calls(galena: Galena) -> None:
    assert galena("--help").returncode == 0
    bare = galena()
    assert bare.returncode == 2
    assert "Usage: galena" in bare.stdout + bare.stderr
    assert "Error" not in bare.stderr
    _refused(galena("nosuch"), "No such command 'nosuch': `galena --help`", exit_code=2)
    _refused(galena("status", "--nosuch"), "No such option: --nosuch", exit_code=2)
    _refused(galena("tenant", "add"), "Missing argument 'TENANT'", exit_code=2)
