"""The jobs of all tenants that have not ended, as those see them who start and settle runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text

from warehouse.database import Database

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
OPEN: tuple[Status, ...] = ("queued", "running")


@dataclass(frozen=True)
class OpenJob:
    """A job that has not ended, without anything of what it is about."""

    tenant_id: str
    job_id: str
    status: Status
    run_id: str | None
    cancelled: bool


def find_all(
    database: Database, table: Literal["ml.training_jobs", "ml.prediction_jobs"]
) -> list[OpenJob]:
    """Every tenant's jobs of one kind that have not ended, the oldest first."""
    with database.operator() as connection:
        rows = connection.execute(
            text(
                "SELECT j.tenant_id, j.job_id, j.status, j.run_id, j.cancel_asked_at IS NOT NULL"
                f" FROM {table} j JOIN crm.tenants t USING (tenant_id)"
                " WHERE j.status IN ('queued', 'running') AND t.status <> 'removing'"
                " ORDER BY j.created_at, j.job_id"
            )
        )
        return [OpenJob(*row) for row in rows]


def oldest_of_each(jobs: Sequence[OpenJob]) -> list[OpenJob]:
    """Of each tenant its first job: jobs of one tenant are worked on one after the other."""
    first: dict[str, OpenJob] = {}
    for job in jobs:
        first.setdefault(job.tenant_id, job)
    return list(first.values())
