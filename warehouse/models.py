"""The registry: every version of a tenant's models, its bytes, and the aliases that say which
serve."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.dialects.postgresql import insert

from ml.kinds import KINDS, AnyModel, Name
from ml.model import Document, dumps
from warehouse import audit
from warehouse.errors import GalenaError
from warehouse.schema import model_aliases, model_factors, models

Alias = Literal["champion", "challenger"]
Status = Literal[
    "registered",
    "rejected",
    "awaiting_approval",
    "approved",
    "deployed",
    "challenger",
    "deprecated",
    "retired",
]
LEAD_MODEL: Name = "lead_model"


# Two trainings that end at once get versions one after the other, and a base rate that found no
# champion does not follow one.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('ml.models'), hashtext(:tenant_id))")


@dataclass(frozen=True)
class ModelVersion:
    """One version of one of a tenant's models; artifact() has its bytes.

    version: counts from 1 per tenant, over all names. status: see ml.model_status in the database:
    deployed is the champion. stage, outcomes: as ml.model.Evidence. metrics: the training's report.
    data: rows, sha256, as_of and, where there is one, feature_set of the snapshot it learnt from.
    configuration: the tenant's settings it was trained by. gate: as ml.gate.Gate.to_json, or None.
    trained_at: nothing known later went into it. deployed_at: when it last began to serve.
    """

    version: int
    name: Name
    description: str
    status: Status
    feature_set: int
    stage: str
    outcomes: int
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    configuration: Mapping[str, Any]
    gate: Mapping[str, Any] | None
    sha256: str
    run_id: str
    mlflow_run_id: str | None
    trained_at: datetime
    registered_at: datetime
    approved_at: datetime | None
    approved_by: str | None
    deployed_at: datetime | None
    retired_at: datetime | None

    @property
    def refused(self) -> bool:
        """Whether its gate has found something against it."""
        return self.gate is not None and not self.gate["passed"]


def register(
    connection: Connection,
    tenant_id: str,
    model: Document,
    *,
    name: Name = LEAD_MODEL,
    feature_set: int = 0,
    data: Mapping[str, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any],
    run_id: str,
) -> int:
    """Store a trained model, and the words of its factors for the database's own reasons; return
    its version. feature_set: that it learnt from, 0 for none. data, configuration: as in
    ModelVersion."""
    document = dumps(model)
    lock(connection, tenant_id)
    mine = models.c.tenant_id == tenant_id
    version: int = (connection.scalar(select(func.max(models.c.version)).where(mine)) or 0) + 1
    connection.execute(
        models.insert().values(
            tenant_id=tenant_id,
            version=version,
            name=name,
            feature_set=feature_set,
            stage=model.evidence.stage,
            outcomes=model.evidence.outcomes,
            base=model.base,
            horizon_days=model.horizon_days,
            metrics=metrics,
            data=data or {},
            configuration=configuration or {},
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
    if factors:
        connection.execute(model_factors.insert(), factors)
    told = f"{model.evidence.stage.replace('_', ' ')} of {model.evidence.outcomes:,} outcomes"
    details = {"name": name, "version": version, "why": told}
    audit.note(connection, tenant_id, "model.registered", details, actor=f"run {run_id}")
    return version


def lock(connection: Connection, tenant_id: str) -> None:
    """Until the transaction ends, no other registers or deploys a model of this tenant."""
    connection.execute(_ONE_AT_A_TIME, {"tenant_id": tenant_id})


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
    """Let the alias of its model name this version, with its entry in the audit log, which tells
    what it replaces. Raises GalenaError when there is no such version."""
    lock(connection, tenant_id)
    name = find(connection, tenant_id, version).name
    before = _aliased_version(connection, tenant_id, alias, name)
    statement = insert(model_aliases).values(
        tenant_id=tenant_id, name=name, alias=alias, version=version
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "name", "alias"],
            set_={"version": version, "set_at": func.now()},
        )
    )
    if alias == "champion":
        _set(connection, tenant_id, version, deployed_at=func.now())
    replaced = None if before is None else before[0]
    details = {"name": name, "version": version, "replaces": replaced, "why": why}
    audit.note(connection, tenant_id, f"model.{alias}", details, actor=actor)


def remove_challenger(
    connection: Connection, tenant_id: str, *, actor: str, why: str, name: Name = LEAD_MODEL
) -> None:
    """Let no version be the challenger, with its entry in the audit log; nothing where none is."""
    lock(connection, tenant_id)
    version = connection.scalar(
        model_aliases.delete()
        .where(
            model_aliases.c.tenant_id == tenant_id,
            model_aliases.c.name == name,
            model_aliases.c.alias == "challenger",
        )
        .returning(model_aliases.c.version)
    )
    if version is not None:
        details = {"name": name, "version": version, "why": why}
        audit.note(connection, tenant_id, "model.challenger_removed", details, actor=actor)


def find(connection: Connection, tenant_id: str, version: int) -> ModelVersion:
    """Raises GalenaError when the tenant has no such version."""
    query = _SELECT.where(models.c.tenant_id == tenant_id, models.c.version == version)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no model version {version}: `galena model list {tenant_id}`"
            " shows those there are."
        )
    return _read(row)


def find_all(
    connection: Connection, tenant_id: str, name: Name | None = None
) -> list[ModelVersion]:
    """The tenant's versions, of one model or of all, the newest first."""
    query = _SELECT.where(models.c.tenant_id == tenant_id).order_by(models.c.version.desc())
    if name is not None:
        query = query.where(models.c.name == name)
    return [_read(row) for row in connection.execute(query)]


def aliased(
    connection: Connection, tenant_id: str, alias: Alias, name: Name = LEAD_MODEL
) -> ModelVersion | None:
    """The version that the alias names; None where it names none."""
    named = _aliased_version(connection, tenant_id, alias, name)
    return None if named is None else find(connection, tenant_id, named[0])


def champion(
    connection: Connection, tenant_id: str, name: Name = LEAD_MODEL
) -> ModelVersion | None:
    """The version that serves; None before the first."""
    return aliased(connection, tenant_id, "champion", name)


def champion_version(
    connection: Connection, tenant_id: str, name: Name = LEAD_MODEL
) -> tuple[int, str] | None:
    """Version and digest of what serves, without its bytes; None before the first."""
    return _aliased_version(connection, tenant_id, "champion", name)


def trained_by(connection: Connection, tenant_id: str, version: int) -> str:
    """The run that made this version."""
    found: str = connection.scalars(
        select(models.c.run_id).where(models.c.tenant_id == tenant_id, models.c.version == version)
    ).one()
    return found


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


def load(connection: Connection, tenant_id: str, version: int) -> AnyModel:
    """The model of a version. Raises GalenaError when its bytes are not those that were registered,
    or no document of its kind: they are checked and parsed as JSON, and nothing is unpickled."""
    found = find(connection, tenant_id, version)
    document = artifact(connection, tenant_id, version)
    try:
        return KINDS[found.name].read(document)
    except ValueError as error:
        raise GalenaError(
            f"Model version {version} of tenant {tenant_id!r} cannot be used as its {found.name}:"
            f" it cannot be read by this release ({error})."
        ) from error


def describe(connection: Connection, tenant_id: str, version: int, **facts: Any) -> None:
    """Set facts of a version: description, gate, or one of the times that make up its status."""
    find(connection, tenant_id, version)
    _set(connection, tenant_id, version, **facts)


def _set(connection: Connection, tenant_id: str, version: int, **facts: Any) -> None:
    connection.execute(
        models.update()
        .where(models.c.tenant_id == tenant_id, models.c.version == version)
        .values(**facts)
    )


def _aliased_version(
    connection: Connection, tenant_id: str, alias: Alias, name: Name
) -> tuple[int, str] | None:
    row = connection.execute(
        select(models.c.version, models.c.sha256)
        .join(model_aliases, _ALIASED)
        .where(
            models.c.tenant_id == tenant_id,
            model_aliases.c.alias == alias,
            model_aliases.c.name == name,
        )
    ).one_or_none()
    return None if row is None else (row.version, row.sha256)


_ALIASED = (model_aliases.c.tenant_id == models.c.tenant_id) & (
    model_aliases.c.version == models.c.version
)
# A champion that is tried against itself is the champion: its alias comes first.
_ALIAS = select(func.min(model_aliases.c.alias)).where(_ALIASED).correlate(models).scalar_subquery()
_STATUS = func.ml.model_status(
    _ALIAS,
    models.c.gate,
    models.c.approval_asked_at,
    models.c.approved_at,
    models.c.deployed_at,
    models.c.retired_at,
).label("status")
_SELECT = select(
    *(models.c[field] for field in ModelVersion.__dataclass_fields__ if field != "status"), _STATUS
)


def _read(row: Row[*tuple[Any, ...]]) -> ModelVersion:
    return ModelVersion(**row._mapping)
