"""What served scores turned out to be worth, week by week and version by version."""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from ml import monitoring
from ml.monitoring import Quality
from warehouse import served_scores, tenants
from warehouse.database import Database
from warehouse.schema import score_quality

# A CRM may learn of a conversion late: so many weeks before the newest are measured once more.
_AGAIN = 2
# Of a tenant that was never measured, before those whose scores have not matured.
_FIRST_WEEKS = 26
# Weeks read at a time, which bounds the memory.
_ONE = timedelta(weeks=1)


@dataclass(frozen=True)
class Week:
    """What came of the scores that a version served in the week from a Monday on."""

    version: int
    week_start: date
    quality: Quality


def measure(database: Database, tenant_id: str, *, until: datetime, now: datetime) -> list[Week]:
    """Measure the weeks in which scores have matured and were not measured whole; store and return
    them, oldest first. until: outcomes are known so far (warehouse.outcomes)."""
    with database.tenant(tenant_id) as connection:
        newest = connection.scalar(
            select(func.max(score_quality.c.week_start)).where(
                score_quality.c.tenant_id == tenant_id
            )
        )
        matured = until - timedelta(days=tenants.find(connection).horizon_days)
    first = (matured - _FIRST_WEEKS * _ONE).date()
    begin = first - timedelta(days=first.weekday())
    if newest is not None:
        begin = newest - _AGAIN * _ONE
    found: list[Week] = []
    with database.reader(tenant_id) as reader:
        while (monday := datetime(begin.year, begin.month, begin.day, tzinfo=UTC)) <= until:
            rows = served_scores.of_week(reader, tenant_id, monday, until=until)
            for (version, base_rate), part in rows.group_by("version", "base_rate"):
                figures = monitoring.quality(
                    part["outcome"].to_numpy(), part["probability"].to_numpy(), base_rate
                )
                found.append(Week(version, begin, figures))
            begin += _ONE
    with database.tenant(tenant_id) as connection:
        for week in found:
            _store(connection, tenant_id, week, now)
    return found


def _store(connection: Connection, tenant_id: str, week: Week, now: datetime) -> None:
    values = {**asdict(week.quality), "measured_at": now}
    statement = insert(score_quality).values(
        tenant_id=tenant_id, version=week.version, week_start=week.week_start, **values
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "version", "week_start"], set_=values
        )
    )


def find_all(connection: Connection, tenant_id: str, most: int = 100) -> list[Week]:
    """The newest weeks that are measured, the newest first."""
    rows = connection.execute(
        select(
            score_quality.c.version,
            score_quality.c.week_start,
            *(score_quality.c[name] for name in Quality.__dataclass_fields__),
        )
        .where(score_quality.c.tenant_id == tenant_id)
        .order_by(score_quality.c.week_start.desc(), score_quality.c.version.desc())
        .limit(most)
    )
    return [Week(version, week_start, Quality(*rest)) for version, week_start, *rest in rows]
