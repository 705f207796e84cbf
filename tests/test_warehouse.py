"""Writing and reading records, feature sets and models on a real PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, create_engine, text

from ml.model import dumps
from tests import counting_model
from warehouse import crm, features, models, scores, tenants
from warehouse.database import Database, literal
from warehouse.embedded import Urls
from warehouse.errors import GalenaError
from warehouse.migrate import current_revision, migrate, newest_revision
from warehouse.schema import common, metadata

TIME = pl.Datetime("us", "UTC")
DAY = timedelta(days=1)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def acme(database: Database) -> Database:
    tenants.add(database, "acme")
    return database


def _leads(*rows: tuple[str, str], **columns: Any) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "lead_id": [lead_id for lead_id, _ in rows],
            "created_at": [JUNE] * len(rows),
            "attributes": [attributes for _, attributes in rows],
        },
        schema_overrides={"created_at": TIME},
    )
    return frame.with_columns(**{name: pl.lit(value).cast(TIME) for name, value in columns.items()})


def _upsert(database: Database, frame: pl.DataFrame, table: str = "leads") -> int:
    with database.tenant("acme") as connection:
        return crm.upsert(connection, "acme", table, frame)


def test_the_tables_are_those_that_the_migrations_make(urls: Urls) -> None:
    engine = create_engine(urls.superuser)

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        if kind == "schema":
            return name in ("crm", "ml")
        return not (kind == "table" and str(name).startswith("lead_score_history_"))

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_schemas": True, "include_name": ours, "compare_server_default": True},
        )
        everything = MetaData(naming_convention=metadata.naming_convention)
        for table in (*metadata.sorted_tables, *common.sorted_tables):
            table.to_metadata(everything)
        assert compare_metadata(context, everything) == []
    engine.dispose()


def test_migrating_again_changes_nothing(urls: Urls) -> None:
    assert current_revision(urls.owner) == newest_revision() == migrate(urls.owner)


def test_every_published_column_has_a_comment(urls: Urls) -> None:
    engine = create_engine(urls.superuser)
    with engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT a.attrelid::regclass::text, a.attname,"
                " col_description(a.attrelid, a.attnum) FROM pg_attribute a"
                " JOIN pg_class c ON c.oid = a.attrelid"
                " WHERE c.relnamespace = 'serving'::regnamespace AND a.attnum > 0"
            )
        ).all()
    engine.dispose()
    assert len(columns) > 30
    assert [column for column in columns if not column[2]] == []
    assert all(view.endswith("_v1") for view, _, _ in columns)


def test_a_second_write_of_the_same_rows_changes_nothing(acme: Database) -> None:
    frame = _leads(("1", '{"a": 1}'), ("2", '{"a": 2}'))
    assert _upsert(acme, frame) == 2
    assert _upsert(acme, frame) == 0
    assert _upsert(acme, _leads(("1", '{"a": 1}'), ("2", '{"a": 3}'))) == 1


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)),
        ),
        max_size=20,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read_back(
    acme: Database, rows: list[tuple[str, Any, datetime]]
) -> None:
    frame = pl.DataFrame(
        {
            "deal_id": [row[0] for row in rows],
            "amount": [row[1] for row in rows],
            "created_at": [row[2].replace(tzinfo=UTC) for row in rows],
            "stage": ["x"] * len(rows),
        },
        schema={"deal_id": pl.String, "amount": pl.Float64, "created_at": TIME, "stage": pl.String},
    )
    with acme.tenant("acme") as connection:
        connection.execute(text("DELETE FROM crm.deals"))
        assert crm.upsert(connection, "acme", "deals", frame) == len(rows)
    with acme.reader("acme") as reader:
        found = reader.frame("SELECT deal_id, amount, created_at, stage FROM crm.deals")
    assert found.sort("deal_id").rows() == frame.sort("deal_id").rows()


def test_attributes_are_those_known_strictly_before(acme: Database) -> None:
    """The second fact is about June 2nd and became known on June 5th."""
    _upsert(acme, _leads(("1", '{"v": 1}'), known_at=JUNE))
    _upsert(acme, _leads(("1", '{"v": 2}'), known_at=JUNE + 4 * DAY))
    times = [JUNE, JUNE + DAY, JUNE + 4 * DAY, JUNE + 4 * DAY + timedelta(microseconds=1)]
    snapshots = pl.DataFrame(
        {"lead_id": ["1"] * 4, "snapshot_at": times}, schema_overrides={"snapshot_at": TIME}
    )
    with acme.reader("acme") as reader:
        known = crm.attributes_as_of(reader, "acme", snapshots)
    assert known["attributes"].to_list() == ["{}", '{"v": 1}', '{"v": 1}', '{"v": 2}']


def test_no_change_is_known_before_what_it_overwrites(acme: Database) -> None:
    """A second import that does not say when its facts became known would date them back."""
    _upsert(acme, _leads(("1", '{"v": 1}'), known_at=JUNE + DAY))
    _upsert(acme, _leads(("1", '{"v": 2}'), known_at=JUNE))
    with acme.tenant("acme") as connection:
        known = connection.execute(
            text("SELECT attributes ->> 'v', known_at FROM crm.attribute_history ORDER BY 2")
        ).all()
    assert known[0] == ("1", JUNE + DAY)
    assert known[1][0] == "2"
    assert known[1][1] > datetime.now(UTC) - timedelta(minutes=10)


def test_a_plain_update_is_known_from_now_on(acme: Database) -> None:
    """A CRM that writes into the tables does not say when it came to know."""
    _upsert(acme, _leads(("1", '{"v": 1}'), known_at=JUNE))
    with acme.tenant("acme") as connection:
        connection.execute(text("""UPDATE crm.leads SET attributes = '{"v": 2}'"""))
        connection.execute(text("UPDATE crm.leads SET converted_at = now()"))
        history = connection.execute(
            text("SELECT attributes ->> 'v', known_at, now() FROM crm.attribute_history ORDER BY 2")
        ).all()
    assert [row[0] for row in history] == ["1", "2"], "an update of no attribute leaves no row"
    assert history[1][1] == history[1][2]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_open_leads_come_in_blocks_with_their_interactions(acme: Database, block: int) -> None:
    ids = [f"lead {n}" for n in range(7)]
    _upsert(acme, _leads(*((lead_id, "{}") for lead_id in ids)))
    _upsert(acme, _leads(("closed", "{}"), closed_at=JUNE + DAY))
    interactions = pl.DataFrame(
        {
            "interaction_id": [f"{lead_id} {n}" for lead_id in [*ids, "closed"] for n in range(2)],
            "lead_id": [lead_id for lead_id in [*ids, "closed"] for _ in range(2)],
            "kind": ["email"] * 16,
            "occurred_at": [JUNE, JUNE + DAY] * 8,
        },
        schema_overrides={"occurred_at": TIME},
    )
    _upsert(acme, interactions, "interactions")
    with acme.reader("acme") as reader:
        blocks = list(crm.open_leads(reader, "acme", block, JUNE + DAY))
    assert max(leads.height for leads, _ in blocks) <= block
    for leads, found in blocks:
        theirs = found.filter(pl.col("lead_id").is_in(leads["lead_id"].implode()))
        assert sorted(leads["lead_id"]) == sorted(theirs["lead_id"]), "one of two is too old"
    assert sorted(pl.concat(leads for leads, _ in blocks)["lead_id"]) == ids


def test_feature_sets_keep_what_models_were_trained_on(acme: Database) -> None:
    rows = pl.DataFrame(
        {
            "lead_id": ["1", "2"],
            "snapshot_at": [JUNE, JUNE],
            "label": [True, False],
            "label_known_at": [JUNE + DAY] * 2,
            "features": [[1.0, None], [2.5, 3.0]],
        },
        schema_overrides={
            "snapshot_at": TIME,
            "label_known_at": TIME,
            "features": pl.List(pl.Float32),
        },
    )
    saved = []
    for number in range(3):
        with acme.tenant("acme") as connection:
            saved.append(
                features.save(
                    connection,
                    "acme",
                    rows,
                    spec={"columns": number},
                    as_of=JUNE,
                    horizon_days=30,
                    run_id="run",
                )
            )
            if number == 0:
                counting_model.register(connection, "acme", feature_set=1)
    with acme.tenant("acme") as connection:
        assert features.newest(connection, "acme") == saved[-1]
    with acme.reader("acme") as reader:
        assert features.rows(reader, "acme", 1).rows() == rows.rows(), "a model needs it"
        assert features.rows(reader, "acme", 2).is_empty(), "nobody needs it"
        assert features.rows(reader, "acme", 3).height == 2
    assert len({found.sha256 for found in saved}) == 3


def test_promotion_is_one_row_and_its_audit(acme: Database) -> None:
    other = replace(counting_model.MODEL, horizon_days=60)
    with acme.tenant("acme") as connection:
        assert models.champion(connection, "acme") is None
        first = counting_model.register(connection, "acme")
        second = models.register(connection, "acme", other, feature_set=1, metrics={}, run_id="run")
        for version in (first, second, first):
            models.promote(connection, "acme", version, "champion", actor="me", why="so")
    with acme.tenant("acme") as connection:
        champion = models.champion(connection, "acme")
        assert models.artifact(connection, "acme", second) == dumps(other)
        audited = connection.execute(
            text("SELECT action, (details ->> 'version')::int FROM ml.audit_log ORDER BY entry_id")
        ).all()
    assert champion is not None
    assert champion.version == first
    assert audited == [
        *(("model.registered", version) for version in (1, 2)),
        *(("model.champion", version) for version in (1, 2, 1)),
    ]


def test_bytes_that_changed_do_not_serve(acme: Database) -> None:
    with acme.tenant("acme") as connection:
        counting_model.serve(connection, "acme")
        connection.execute(text("UPDATE ml.models SET artifact = 'tampered'"))
        with pytest.raises(GalenaError, match="sha256 differs"):
            models.artifact(connection, "acme", 1)
        with pytest.raises(GalenaError, match="is gone"):
            models.artifact(connection, "acme", 2)


def test_history_is_partitioned_by_month(acme: Database) -> None:
    with acme.tenant("acme") as connection:
        counting_model.register(connection, "acme")
    for month, day in ((6, 30), (7, 1), (7, 2)):
        at = datetime(2026, month, day, tzinfo=UTC)
        with acme.tenant("acme") as connection:
            connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": at})
            scores.begin_anew(connection, "acme")
            scores.write(connection, "acme", _SCORES, scores.Stamp(1, at, at, at, "run"))
            scores.rank(connection, "acme", at, [0.5])
    with acme.tenant("acme") as connection:
        assert scores.freshness(connection, "acme").scores == 1
        kept = connection.scalars(text("SELECT lead_id FROM ml.lead_score_history")).all()
        partitions = connection.scalars(
            text("SELECT DISTINCT tableoid::regclass::text FROM ml.lead_score_history ORDER BY 1")
        ).all()
    assert len(kept) == 3
    assert partitions == ["ml.lead_score_history_2026_06", "ml.lead_score_history_2026_07"]


_SCORES = pl.DataFrame(
    {
        "lead_id": ["1"],
        "score": [50],
        "probability": [0.5],
        "confidence": [0.5],
        "contributions": [[0.0]],
        "inputs": [[1.0]],
    },
    schema_overrides={
        "score": pl.Int16,
        "confidence": pl.Float32,
        "contributions": pl.List(pl.Float32),
        "inputs": pl.List(pl.Float32),
    },
)


@pytest.mark.parametrize("value", ["plain", "it's", "back\\slash", "", "é漢", JUNE, 7, 1.5])
def test_literals_are_what_they_say(acme: Database, value: object) -> None:
    with acme.reader("acme") as reader:
        found = reader.frame(f"SELECT {literal(value)} AS value")["value"][0]
    assert str(found) == str(value) or literal(found) == literal(value)
