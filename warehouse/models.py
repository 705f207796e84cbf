"""The registry that serving trusts: model versions, the bytes that serve, and which one does."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from ml.model import Model, dumps
from warehouse.errors import GalenaError
from warehouse.schema import audit_log, model_aliases, model_factors, models

Alias = Literal["champion", "challenger"]


# Two trainings that end at once get versions one after the other, and a base rate that found no
# champion does not follow one.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('ml.models'), hashtext(:tenant_id))")


@dataclass(frozen=True)
class ModelVersion:
    """One trained model of a tenant; artifact() has its bytes."""

    version: int
    feature_set: int
    stage: str
    outcomes: int
    metrics: Mapping[str, Any]
    sha256: str
    run_id: str
    trained_at: datetime


def register(
    connection: Connection,
    tenant_id: str,
    model: Model,
    *,
    feature_set: int,
    metrics: Mapping[str, Any],
    run_id: str,
) -> int:
    """Store a trained model, and the words of its factors for the database's own reasons; return
    its version, counted from 1 per tenant. feature_set: that it learnt from, 0 for none."""
    document = dumps(model)
    connection.execute(_ONE_AT_A_TIME, {"tenant_id": tenant_id})
    mine = models.c.tenant_id == tenant_id
    version: int = (connection.scalar(select(func.max(models.c.version)).where(mine)) or 0) + 1
    connection.execute(
        models.insert().values(
            tenant_id=tenant_id,
            version=version,
            feature_set=feature_set,
            stage=model.evidence.stage,
            outcomes=model.evidence.outcomes,
            base=model.base,
            horizon_days=model.horizon_days,
            metrics=metrics,
            artifact=document,
            sha256=hashlib.sha256(document).hexdigest(),
            run_id=run_id,
            trained_at=model.trained_at,
        )
    )
    factors = [
        {
            "tenant_id": tenant_id,
            "version": version,
            "position": position,
            "factor": factor.name,
            "template": factor.template,
            "shown": factor.shown,
            "categories": list(factor.categories),
        }
        for position, factor in enumerate(model.spec.factors)
    ]
    connection.execute(model_factors.insert(), factors)
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
    connection.execute(_ONE_AT_A_TIME, {"tenant_id": tenant_id})
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


def champion_version(connection: Connection, tenant_id: str) -> tuple[int, str] | None:
    """Version and digest of what serves, without its bytes; None before the first."""
    row = connection.execute(
        select(models.c.version, models.c.sha256)
        .join(model_aliases, _ALIASED)
        .where(models.c.tenant_id == tenant_id, model_aliases.c.alias == "champion")
    ).one_or_none()
    return None if row is None else (row.version, row.sha256)


def trained_by(connection: Connection, tenant_id: str, version: int) -> str:
    """The run that made this version."""
    found: str = connection.scalars(
        select(models.c.run_id).where(models.c.tenant_id == tenant_id, models.c.version == version)
    ).one()
    return found


_ALIASED = (model_aliases.c.tenant_id == models.c.tenant_id) & (
    model_aliases.c.version == models.c.version
)


def artifact(connection: Connection, tenant_id: str, version: int) -> bytes:
    """The bytes of a version; raises GalenaError when they are gone or not what was registered."""
    found = connection.execute(
        select(models.c.artifact, models.c.sha256).where(
            models.c.tenant_id == tenant_id, models.c.version == version
        )
    ).one_or_none()
    name = f"Model version {version} of tenant {tenant_id!r}"
    if found is None:
        raise GalenaError(
            f"{name} is gone from ml.models, and with it the meaning of its scores: restore its"
            " rows in ml.models and ml.model_factors from a backup."
        )
    if hashlib.sha256(found.artifact).hexdigest() != found.sha256:
        raise GalenaError(
            f"{name} is not the document that was registered (sha256 differs): restore its row in"
            " ml.models from a backup, or promote another version, or train anew."
        )
    return bytes(found.artifact)


def champion(connection: Connection, tenant_id: str) -> ModelVersion | None:
    """The version that serves; None before the first."""
    columns = [models.c[name] for name in ModelVersion.__dataclass_fields__]
    row = connection.execute(
        select(*columns)
        .join(model_aliases, _ALIASED)
        .where(models.c.tenant_id == tenant_id, model_aliases.c.alias == "champion")
    ).one_or_none()
    return None if row is None else ModelVersion(**row._mapping)
