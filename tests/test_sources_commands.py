"""`galena source`, and the end of a tenant that has sources."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import make_url
from typer.testing import CliRunner

from orchestration.source_commands import source_app
from tests.sources import LOGGED, PASSWORD, Crm, new_crm
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError
from warehouse.sources.removal import release_tenant

SLOTS = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"


@pytest.fixture
def crm(
    database: Database,
    urls: Urls,
    server: Urls,
    new_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Crm]:
    """The tenant acme of an installation that the command finds; its source is not yet added."""
    for name, value in {
        "GALENA_HOME": str(tmp_path),
        "GALENA_DATABASE_URL": urls.app,
        "GALENA_OWNER_DATABASE_URL": urls.owner,
    }.items():
        monkeypatch.setenv(name, value)
    url = make_url(server.superuser).set(database=new_database("template0"))
    found = new_crm(database, "acme", url.render_as_string(hide_password=False))
    monkeypatch.setenv(found.variable, found.owner_url)
    yield found
    found.drop_slots()


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    path = tmp_path / "crm.yaml"
    path.write_text(yaml.safe_dump(LOGGED))
    return str(path)


def run(*arguments: str) -> str:
    return CliRunner().invoke(source_app, arguments, catch_exceptions=False).stdout


def test_from_a_proposal_to_removal(crm: Crm, mapping: str) -> None:
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    proposed = run("propose", "contacts", "Calls", "--url-variable", crm.variable)
    document = yaml.safe_load(proposed)["tables"]
    assert (document["contacts"]["table"], document["contacts"]["key"]) == ("leads", "id")
    assert document["Calls"]["key"] == ["contact", "number"]

    assert "Source crm added" in run(
        "add", "acme", "crm", "--url-variable", crm.variable, "--mapping", mapping
    )
    assert run(
        "add", "acme", "crm", "--url-variable", crm.variable, "--mapping", mapping
    ).startswith("Source crm changed")
    with pytest.raises(GalenaError, match="there is no publication"):
        run("check", "acme", "crm")
    printed = run("sql", "acme", "crm")
    assert "CREATE PUBLICATION" in printed
    assert "max_slot_wal_keep_size" in printed
    crm.prepare()
    assert "can be read" in run("check", "acme", "crm")

    assert "never" in run("list")
    crm.load()
    assert "well" in run("list", "acme")
    run("reload", "acme", "crm")
    assert crm.sweep().load_wanted == "somebody asked for it"

    assert crm.there(SLOTS) == [(1,)]
    assert "its records are still here" in run("remove", "acme", "crm", "--yes")
    assert crm.there(SLOTS) == [(0,)]
    assert set(crm.leads()) == {"1"}
    assert "There is no source" in run("list")


@pytest.mark.parametrize(
    ("source", "variable", "words"),
    [
        ("C R M", "CRM_URL", "'C R M' does not: choose another"),
        ("crm", f"postgresql://u:{PASSWORD}@h/d", "no name of an environment variable"),
    ],
)
def test_what_cannot_be_added(
    crm: Crm, mapping: str, source: str, variable: str, words: str
) -> None:
    with pytest.raises(GalenaError, match=words) as error:
        run("add", "acme", source, "--url-variable", variable, "--mapping", mapping)
    assert PASSWORD not in str(error.value)
    with pytest.raises(GalenaError, match="has no source 'crm'"):
        run("sql", crm.tenant_id, "crm")


def test_a_tenant_that_goes_leaves_no_slot_and_no_rows(crm: Crm) -> None:
    crm.add(LOGGED)
    crm.prepare()
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    crm.load()
    tenants.set_status(crm.database, "acme", "removing")
    assert release_tenant(crm.database, "acme") == []
    assert crm.there(SLOTS) == [(0,)]
    deleted = tenants.erase(crm.database, "acme", os.environ["GALENA_OWNER_DATABASE_URL"])
    assert (deleted["crm.sources"], deleted["crm.source_keys"]) == (1, 1)


def test_a_source_that_is_down_when_its_tenant_goes(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.add(LOGGED)
    crm.prepare()
    slot = crm.source().slot_name
    monkeypatch.delenv(crm.variable)
    tenants.set_status(crm.database, "acme", "removing")
    (left,) = release_tenant(crm.database, "acme")
    assert left.startswith(f"SELECT pg_drop_replication_slot('{slot}'); -- at source crm:")
