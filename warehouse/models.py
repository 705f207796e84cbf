"""The registry that serving trusts: model versions, the bytes that serve, and which one does."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from warehouse.errors import GalenaError
from warehouse.schema import audit_log, model_aliases, model_factors, models

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class ModelVersion:
    """One trained model of a tenant, with the bytes that serve."""

    version: int
    feature_set: int
    stage: str
    outcomes: int
    metrics: Mapping[str, Any]
    artifact: bytes
    sha256: str
    run_id: str
    trained_at: datetime


def register(
    connection: Connection,
    tenant_id: str,
    *,
    artifact: bytes,
    factors: Sequence[Mapping[str, Any]],
    feature_set: int,
    stage: str,
    outcomes: int,
    base: float,
    horizon_days: int,
    metrics: Mapping[str, Any],
    run_id: str,
    trained_at: datetime,
) -> int:
    """Store a trained model and return its version, counted from 1 per tenant.

    artifact: the model's document. factors: factor, template, shown and categories of each of its
    factors, in the order of its contributions. base: its log-odds before any reason.
    """
    mine = models.c.tenant_id == tenant_id
    version: int = (connection.scalar(select(func.max(models.c.version)).where(mine)) or 0) + 1
    connection.execute(
        models.insert().values(
            tenant_id=tenant_id,
            version=version,
            feature_set=feature_set,
            stage=stage,
            outcomes=outcomes,
            base=base,
            horizon_days=horizon_days,
            metrics=metrics,
            artifact=artifact,
            sha256=hashlib.sha256(artifact).hexdigest(),
            run_id=run_id,
            trained_at=trained_at,
        )
    )
    if factors:
        keyed = [
            {"tenant_id": tenant_id, "version": version, "position": position, **factor}
            for position, factor in enumerate(factors)
        ]
        connection.execute(model_factors.insert(), keyed)
    return version


def link_mlflow(connection: Connection, tenant_id: str, version: int, mlflow_run_id: str) -> None:
    """Name the MLflow run that holds this version's experiment."""
    connection.execute(
        models.update()
        .where(models.c.tenant_id == tenant_id, models.c.version == version)
        .values(mlflow_run_id=mlflow_run_id)
    )


def promote(
    connection: Connection, tenant_id: str, version: int, alias: Alias, *, actor: str, why: str
) -> None:
    """Let the alias name this version, with its entry in the audit log."""
    statement = insert(model_aliases).values(tenant_id=tenant_id, alias=alias, version=version)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "alias"], set_={"version": version, "set_at": func.now()}
        )
    )
    connection.execute(
        audit_log.insert().values(
            tenant_id=tenant_id,
            actor=actor,
            action=f"model.{alias}",
            details={"version": version, "why": why},
        )
    )


def champion(connection: Connection, tenant_id: str) -> ModelVersion | None:
    """The version that serves; None before the first. Raises when its bytes are not what was
    registered."""
    columns = [models.c[name] for name in ModelVersion.__dataclass_fields__]
    row = connection.execute(
        select(*columns)
        .join(
            model_aliases,
            (model_aliases.c.tenant_id == models.c.tenant_id)
            & (model_aliases.c.version == models.c.version),
        )
        .where(models.c.tenant_id == tenant_id, model_aliases.c.alias == "champion")
    ).one_or_none()
    if row is None:
        return None
    found = ModelVersion(**row._mapping)
    if hashlib.sha256(found.artifact).hexdigest() != found.sha256:
        raise GalenaError(
            f"Model version {found.version} of tenant {tenant_id!r} is not the document that was"
            " registered (sha256 differs): promote another version or train anew."
        )
    return found
