"""Loads that would spoil scores are not published; loads that would not are, without a word."""

import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import make_url, text

from assets.crm_checks import loads_are_sound, records_are_sound
from assets.crm_records import crm_records
from assets.crm_source import crm_source
from assets.partitions import tenant_partitions
from examples import bank
from examples.simulator import PROFILES
from orchestration.samples import simulated
from resources.warehouse import Warehouse
from tests.conftest import in_database
from tests.sources import LOGGED, Crm, new_crm, problem
from warehouse import crm, tenants
from warehouse.alerts import open_alerts
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.imports import ImportReport, import_file
from warehouse.imports.mapping import parse_mapping
from warehouse.loads import verdicts
from warehouse.loads.sources import check_records
from warehouse.loads.verdicts import RECORDS, LoadBlockedError, Verdict

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEADS = {"table": "leads", "id": "id", "created_at": "created", "converted_at": "won",
         "closed_at": "lost"}  # fmt: skip
_numbers = itertools.count(1)

Row = dict[str, Any]
Change = Callable[[int, Row], Row]


def rows(number: int = 400, first: int = 0, *, change: Change | None = None) -> list[Row]:
    """Leads of one a quarter of a day, of which 30 % convert and 30 % are lost; change: of each."""
    made = []
    for one in range(first, first + number):
        chance = random.Random(one)
        created = NOW - timedelta(days=300) + timedelta(hours=6 * one)
        ended = (created + timedelta(days=chance.uniform(1, 9))).isoformat()
        fate = chance.random()
        row = {
            "id": f"L{one:05}",
            "created": created.isoformat(),
            "won": ended if fate < 0.3 else None,
            "lost": ended if 0.3 <= fate < 0.6 else None,
            "channel": chance.choice(["web", "fair", "call"]),
            "employees": chance.randint(5, 500),
            "newsletter": chance.choice(["yes", "no"]),
            "budget": chance.randint(1000, 90000) if chance.random() > 0.02 else None,
        }
        made.append(change(one, row) if change else row)
    return made


def times(factor: int) -> Change:
    return lambda _, row: {**row, "employees": row["employees"] * factor}


@dataclass
class Acme:
    """A tenant that imports files."""

    database: Database
    folder: Path
    tenant_id: str

    def imports(
        self, made: list[Row] | pl.DataFrame, name: str = "leads.csv", **options: Any
    ) -> ImportReport:
        frame = made if isinstance(made, pl.DataFrame) else pl.DataFrame(made, None)
        path = self.folder / name
        frame.write_csv(path)
        mapping = parse_mapping(options.pop("mapping", LEADS), "mapping")
        return import_file(self.database, self.tenant_id, path, mapping, now=NOW, **options)

    def said(self, made: list[Row], **options: Any) -> tuple[str, set[str]]:
        """The verdict on a file, and the checks that it did not pass."""
        try:
            verdict = self.imports(made, **options).verdict
        except LoadBlockedError as error:
            verdict = error.verdicts[0]
        assert verdict is not None
        return verdict.said, {one.check for one in verdict.failures if one.severity != "info"}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.tenant(self.tenant_id) as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def state(self) -> list[tuple[Any, ...]]:
        """The records, what is to be rescored, and what was set aside."""
        return [
            *self.rows("SELECT l::text FROM crm.leads l ORDER BY 1"),
            *self.rows("SELECT h::text FROM crm.attribute_history h ORDER BY 1"),
            *self.rows("SELECT q::text FROM crm.rescore_queue q ORDER BY 1"),
            *self.rows("SELECT r::text FROM crm.rejected_rows r ORDER BY 1"),
        ]

    def alerts(self) -> list[tuple[str, str]]:
        with self.database.tenant(self.tenant_id) as connection:
            return [(one.kind, one.subject) for one in open_alerts(connection, self.tenant_id)]

    def newest(self) -> list[Verdict]:
        with self.database.tenant(self.tenant_id) as connection:
            return verdicts.newest(connection, self.tenant_id)

    def checked(self) -> tuple[str, set[str]]:
        """The verdict on the published leads."""
        (verdict,) = check_records(self.database, self.tenant_id, NOW)
        return verdict.said, {one.check for one in verdict.failures}

    def sql(self, statement: str) -> None:
        with self.database.tenant(self.tenant_id) as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="module")
def urls(server: Urls, new_database: Callable[[str], str]) -> Urls:
    return in_database(server, new_database("template"))


@pytest.fixture(scope="module")
def database(urls: Urls) -> Iterator[Database]:
    """One database for the tests of this module, which have a tenant each."""
    found = Database(urls.app)
    yield found
    found.close()


@pytest.fixture
def acme(database: Database, tmp_path: Path) -> Acme:
    return new_tenant(database, tmp_path)


def new_tenant(database: Database, folder: Path) -> Acme:
    tenant_id = f"acme-{next(_numbers)}"
    tenants.add(database, tenant_id)
    return Acme(database, folder, tenant_id)


def some(share: float, **values: Any) -> Change:
    """These values in a share of the rows."""
    return lambda one, row: {**row, **values} if random.Random(-one).random() < share else row


BAD: dict[str, tuple[list[Row], str, set[str]]] = {
    "a column is gone": (
        [{name: row[name] for name in row if name != "channel"} for row in rows()],
        "blocked",
        {"schema"},
    ),
    "60 % of a column are missing": (rows(change=some(0.6, budget=None)), "blocked", {"nulls"}),
    "30 % of a column are missing": (rows(change=some(0.4, budget=None)), "warned", {"nulls"}),
    "numbers are texts": (
        rows(change=lambda _, row: {**row, "employees": f"about {row['employees']}"}),
        "blocked",
        {"kind"},
    ),
    "another unit": (rows(change=times(100)), "blocked", {"ranges"}),
    "a smaller unit": (
        rows(change=lambda _, row: {**row, "budget": (row["budget"] or 1000) / 1000}),
        "blocked",
        {"ranges"},
    ),
    "some in another unit": (rows(change=some(0.1, budget=10**9)), "warned", {"ranges"}),
    "all again under new ids": (
        rows(change=lambda _, row: {**row, "id": f"again-{row['id']}"}),
        "blocked",
        {"duplicates"},
    ),
    "ids are repeated": (
        rows(change=lambda one, row: {**row, "id": f"L{one // 2:05}"}),
        "blocked",
        {"repeated ids", "duplicates", "conversions taken back"},
    ),
    "most ended before they began": (
        rows(change=lambda _, row: {**row, "won": "2020-01-01", "lost": None}),
        "blocked",
        {"rows set aside"},
    ),
    "all converted": (
        rows(change=lambda _, row: {**row, "won": row["won"] or row["lost"], "lost": None}),
        "blocked",
        {"outcomes", "one outcome only"},
    ),
    "an old copy": (
        rows(change=lambda _, row: {**row, "won": None, "lost": None}),
        "blocked",
        {"conversions taken back"},
    ),
    "old, and says something else": (
        rows(300, change=lambda _, row: {**row, "channel": "other"}),
        "warned",
        {"freshness of a file"},
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_load_is_told_and_what_would_spoil_scores_changes_nothing(
    acme: Acme, what: str
) -> None:
    acme.imports(rows())
    before = acme.state()
    made, said, checks = BAD[what]
    assert acme.said(made) == (said, checks)
    assert (acme.state() == before) == (said == "blocked")


def test_a_first_load_is_judged_by_itself(acme: Acme) -> None:
    twice = rows() + rows(change=lambda _, row: {**row, "id": f"again-{row['id']}"})
    assert acme.said(twice) == ("warned", {"duplicates in a first load"})
    other = new_tenant(acme.database, acme.folder)
    repeated = rows(change=lambda one, row: {**row, "id": f"L{one // 2:05}"})
    assert other.said(repeated) == ("blocked", {"repeated ids"})
    assert other.rows("SELECT * FROM crm.leads") == []


def test_good_loads_pass(acme: Acme) -> None:
    """The same again, a part, ten new ones, corrections, more, another column; dated names."""
    fresh = rows(10, 700, change=lambda _, row: {**row, "won": None, "lost": None, "budget": None})
    corrected = rows(40, change=lambda _, row: {**row, "channel": "fair"})
    new_column = rows(800, change=lambda one, row: {**row, "score": one})
    for made in (
        rows(), rows(), rows(100), rows(100, 200), rows(700), fresh, corrected, rows(800),
        new_column,
    ):  # fmt: skip
        for number in range(2):
            report = acme.imports(made, f"leads-2026-11-{number}.csv")
            assert report.verdict is None or report.verdict.said == "passed", report.verdict
    assert {one.source for one in acme.newest()} == {"leads-#-#-#.csv"}
    assert acme.alerts() == []


def test_few_rows_are_not_judged(acme: Acme) -> None:
    acme.imports(rows())
    ten = [{"id": row["id"], "created": row["created"], "won": None, "lost": None}
           for row in rows(10, 400)]  # fmt: skip
    assert acme.imports(ten).verdict is None


def test_a_column_that_the_mapping_ignores_is_not_missed(acme: Acme) -> None:
    acme.imports(rows())
    report = acme.imports(rows(), mapping={**LEADS, "ignore": ["channel"]})
    assert report.verdict is not None
    assert report.verdict.said == "passed"


def test_a_small_load_is_no_measure_for_a_large_one(acme: Acme) -> None:
    acme.imports(rows())
    acme.imports(rows(35, 400, change=some(0.2, budget=None)))
    assert acme.said(rows(change=some(0.6, budget=None))) == ("blocked", {"nulls"})


def test_the_samples_are_good_loads(acme: Acme) -> None:
    """The bank in its order, month by month: rates and conversions move within it."""
    leads = bank.leads()
    attributes = leads["attributes"].str.json_decode(infer_schema_length=None).struct.unnest()
    wide = leads.select(
        id="lead_id", created="created_at", won="converted_at", lost="closed_at"
    ).hstack(attributes)
    for upto in (20_000, len(wide)):
        verdict = acme.imports(wide.head(upto), "bank.csv").verdict
        assert verdict is not None
        assert (verdict.said, [str(one) for one in verdict.warnings]) == ("passed", [])
    for name in ("brio", "fjord"):
        sample = simulated(PROFILES[name], 1.0)
        frames = sample.tables(NOW)
        with acme.database.tenant(acme.tenant_id) as connection:
            for table, frame in frames:
                crm.upsert(connection, acme.tenant_id, table, frame)
        for verdict in check_records(acme.database, acme.tenant_id, NOW):
            assert verdict.blocking == []


def test_a_blocked_file_is_explained_and_may_be_accepted(acme: Acme) -> None:
    acme.imports(rows())
    broken = rows(change=some(0.6, budget=None))
    with pytest.raises(LoadBlockedError) as raised:
        acme.imports(broken)
    message = str(raised.value)
    share = sum(row["budget"] is None for row in broken) / len(broken)
    for part in (
        f"leads.csv (leads): nulls of 'budget': {share:.1%} of the rows have no value; expected",
        "(expect_column_values_to_be_between)",
        "All its rows are still in the file",
        "galena import --accept",
    ):
        assert part in message
    assert acme.alerts() == [("load_blocked", "leads.csv (leads)")]
    (kept,) = acme.newest()
    assert (kept.said, kept.profile.rows) == ("blocked", 400)
    assert kept.profile.columns["budget"].missing == sum(row["budget"] is None for row in broken)

    report = acme.imports(broken, accepted_by="Ada")
    assert report.verdict is not None
    assert (report.verdict.said, report.written) == ("accepted", 245)
    assert acme.alerts() == []
    (entry,) = acme.rows("SELECT actor, action, details FROM ml.audit_log")
    assert entry[:2] == ("Ada", "load.accepted")
    assert entry[2]["failures"][0]["column"] == "budget"
    # It is what the next is measured against; what needed no acceptance has no entry.
    assert acme.said(broken, accepted_by="Ada") == ("passed", set())
    assert len(acme.rows("SELECT 1 FROM ml.audit_log")) == 1


def test_the_next_good_load_resolves_the_alert(acme: Acme) -> None:
    acme.imports(rows())
    problem(lambda: acme.imports(rows(change=times(100))))
    assert acme.alerts() == [("load_blocked", "leads.csv (leads)")]
    assert acme.said(rows(500)) == ("passed", set())
    assert acme.alerts() == []


def test_a_load_is_blocked_beside_a_good_one(acme: Acme, tmp_path: Path) -> None:
    """Each waits for the other, whichever comes first, and only one is undone."""
    acme.imports(rows())
    said: dict[str, str] = {}

    def load(folder: Path, made: list[Row], name: str) -> None:
        folder.mkdir()
        said[name] = Acme.said(replace(acme, folder=folder), made)[0]

    threads = [
        threading.Thread(target=load, args=(tmp_path / name, made, name))
        for name, made in (("good", rows(450)), ("bad", rows(change=times(100))))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {"good": "passed", "bad": "blocked"}
    found = acme.rows(
        "SELECT count(*), max((attributes ->> 'employees')::int) <= 500 FROM crm.leads"
    )
    assert found == [(450, True)]


def test_tenants_do_not_see_each_others_loads(acme: Acme) -> None:
    other = new_tenant(acme.database, acme.folder)
    acme.imports(rows())
    # Measured against the other's, it would be blocked.
    assert other.said(rows(change=times(100))) == ("passed", set())
    with acme.database.tenant(acme.tenant_id) as connection:
        assert verdicts.newest(connection, other.tenant_id) == []
        assert verdicts.reference(connection, other.tenant_id, "leads.csv", "leads") is None
    assert len(other.newest()) == 1


def test_erasing_a_tenant_takes_its_verdicts_along(acme: Acme, urls: Urls) -> None:
    acme.imports(rows())
    assert tenants.erase(acme.database, acme.tenant_id, urls.owner)["crm.load_checks"] == 1


def test_published_records_are_judged_whoever_wrote_them(acme: Acme) -> None:
    acme.imports(rows())
    assert acme.checked() == ("passed", set())
    acme.sql("UPDATE crm.leads SET attributes = attributes - 'channel'")
    assert acme.checked() == ("blocked", {"schema"})
    assert acme.alerts() == [("load_blocked", f"{RECORDS} (leads)")]
    with acme.database.tenant(acme.tenant_id) as connection:
        accepted = verdicts.accept(connection, acme.tenant_id, RECORDS, actor="Ada")
    assert accepted == [f"{RECORDS} (leads)"]
    assert acme.checked() == ("accepted", {"schema"})
    assert acme.checked() == ("passed", set())
    assert acme.alerts() == []


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE crm.leads SET attributes = attributes || '{\"budget\": null}'", "nulls"),
        ("DELETE FROM crm.leads WHERE lead_id < 'L00300'", "fewer rows"),
        ("DELETE FROM crm.leads WHERE lead_id > 'L00350'", "freshness of a whole reading"),
        ("UPDATE crm.leads SET converted_at = created_at - interval '1 day'", "order of times"),
        ("UPDATE crm.leads SET created_at = '2027-01-01', converted_at = NULL, closed_at = NULL",
         "future"),
    ],
)  # fmt: skip
def test_records_that_would_spoil_training_are_told(acme: Acme, statement: str, check: str) -> None:
    acme.imports(rows())
    assert acme.checked() == ("passed", set())
    acme.sql(statement)
    said, checks = acme.checked()
    assert said == "blocked"
    assert check in checks


def test_contradictions_that_were_accepted_stay_so(acme: Acme) -> None:
    acme.imports(rows())
    acme.sql("UPDATE crm.leads SET converted_at = created_at - interval '1 day'")
    for said in ("blocked", "accepted", "accepted"):
        assert acme.checked() == (said, {"order of times"})
        if said == "blocked":
            with acme.database.tenant(acme.tenant_id) as connection:
                verdicts.accept(connection, acme.tenant_id, RECORDS, actor="Ada")
    acme.sql("UPDATE crm.leads SET attributes = attributes - 'channel'")
    assert acme.checked()[0] == "blocked"


def test_an_accepted_file_is_a_new_beginning_for_the_records(acme: Acme) -> None:
    acme.imports(rows())
    acme.checked()
    acme.imports(BAD["a column is gone"][0], accepted_by="Ada")
    assert acme.checked()[0] == "passed"


@pytest.fixture
def source(database: Database, server: Urls, new_database: Callable[[str], str]) -> Iterator[Crm]:
    """A CRM database with 200 contacts and 200 calls, which has been read."""
    url = make_url(server.superuser).set(database=new_database("template0"))
    found = new_crm(database, f"acme-{next(_numbers)}", url.render_as_string(hide_password=False))
    found.write(
        "INSERT INTO contacts (id, created, country, employees) SELECT i, '2026-01-01'::timestamptz"
        " + i * interval '1 day', 'de', i FROM generate_series(1, 200) i",
        "INSERT INTO \"Calls\" (contact, number, kind) SELECT i, 1, 'call'"
        " FROM generate_series(1, 200) i",
    )
    found.add(LOGGED)
    found.prepare()
    found.load()
    yield found
    found.drop_slots()


def test_a_bad_reading_of_a_source_leaves_the_records_as_they_were(source: Crm) -> None:
    def records() -> list[tuple[Any, ...]]:
        return source.here(
            "SELECT l::text FROM crm.leads l UNION ALL SELECT k::text FROM crm.source_keys k"
            " UNION ALL SELECT i::text FROM crm.interactions i ORDER BY 1"
        )

    before = records()
    source.write("DELETE FROM contacts WHERE mod(id, 4) > 0", 'UPDATE "Calls" SET kind = NULL')
    message = problem(source.load)
    for part in (
        "crm/contacts (leads): fewer rows: 50 rows; expected about the 200 of the last good load",
        "crm/Calls (interactions): rows set aside: 100.0% of the rows cannot be used",
        f"galena accept {source.tenant_id} crm",
    ):
        assert part in message
    assert records() == before
    kinds = [(alert.kind, alert.subject) for alert in source.alerts()]
    assert sorted(kinds) == [
        ("load_blocked", "crm/Calls (interactions)"),
        ("load_blocked", "crm/contacts (leads)"),
        ("source_failing", "crm"),
    ]
    with source.database.tenant(source.tenant_id) as connection:
        verdicts.accept(connection, source.tenant_id, "crm", actor="Ada")
    source.load()
    assert len(source.leads()) == 50
    assert source.alerts() == []
    # It is as it was accepted.
    source.load()


def test_nothing_is_made_of_records_that_are_not_sound(acme: Acme, urls: Urls) -> None:
    made = []

    @dg.asset(deps=[crm_records], partitions_def=tenant_partitions)
    def probe(context: dg.AssetExecutionContext) -> None:
        made.append(context.partition_key)

    job = dg.define_asset_job("job", dg.AssetSelection.assets(crm_records, probe))
    defs = dg.Definitions(
        assets=[crm_source, crm_records, probe],
        asset_checks=[loads_are_sound, records_are_sound],
        jobs=[job],
        resources={"warehouse": Warehouse(database_url=urls.app)},
    )
    other = new_tenant(acme.database, acme.folder)
    with dg.DagsterInstance.ephemeral() as instance:

        def run(tenant: Acme) -> dict[str, dg.AssetCheckEvaluation]:
            instance.add_dynamic_partitions("tenants", [tenant.tenant_id])
            done = defs.resolve_job_def("job").execute_in_process(
                instance=instance, partition_key=tenant.tenant_id, raise_on_error=False
            )
            found = done.get_asset_check_evaluations()
            assert {one.partition for one in found} == {tenant.tenant_id}
            return {one.check_name: one for one in found}

        for tenant in (acme, other):
            tenant.imports(rows())
            assert all(one.passed for one in run(tenant).values())
        # Blocked, and nothing came of it: what is published is sound.
        problem(lambda: acme.imports(rows(change=times(100))))
        found = run(acme)
        assert (found["loads_are_sound"].passed, found["records_are_sound"].passed) == (False, True)
        assert "leads.csv (leads): ranges of 'employees'" in str(
            found["loads_are_sound"].description
        )
        acme.sql("UPDATE crm.leads SET attributes = attributes - 'channel'")
        assert not run(acme)["records_are_sound"].passed
        assert all(one.passed for one in run(other).values())
    assert made == [acme.tenant_id, other.tenant_id, acme.tenant_id, other.tenant_id]


def test_checking_sends_nothing_and_leaves_no_file() -> None:
    """An audit hook sees every connection and every file that Python opens to write."""
    code = """
import sys
seen = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "os.mkdir", "subprocess.Popen"):
        seen.append((event, str(args)))
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append((event, str(args)))
import matplotlib.font_manager
import great_expectations
from warehouse.loads.expectations import judge
from tests.test_load_checks import NOW, pl
from warehouse.loads.figures import Figure
from warehouse.loads.profile import read
sys.addaudithook(hook)
frame = pl.DataFrame({"lead_id": ["1"], "created_at": [NOW], "converted_at": [NOW]})
said = judge([Figure("nulls", "a", 1.0, "", "")], read("leads", frame), NOW)
print([one.severity for one in said], seen)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.stdout.strip(), done.stderr) == ("['critical'] []", "")
