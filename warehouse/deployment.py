"""Which version serves: deployed, rolled back, approved, retired; each with its audit entry.

What is decided here holds from the next scoring on: a scoring asks for the champion every time.
"""

import difflib
from typing import cast, get_args

from sqlalchemy import Connection, func

from ml.gate import Gate
from ml.kinds import Name
from ml.settings import Governance
from warehouse import alerts, audit, models, queue
from warehouse.errors import GalenaError
from warehouse.models import LEAD_MODEL, ModelVersion

AWAITS, REJECTED = "model_awaits_approval", "model_rejected"
# The scoring of all leads that follows a training in its run takes them from the queue before.
_SCORED_BY_THE_RUN_S = 120.0


def after_training(
    connection: Connection,
    tenant_id: str,
    version: int,
    gate: Gate,
    governance: Governance,
    *,
    actor: str,
) -> bool:
    """Let a version that was trained serve, ask for a person's approval, or keep it from serving,
    as its gate and the tenant's governance say. Returns whether it serves."""
    models.lock(connection, tenant_id)
    models.describe(connection, tenant_id, version, gate=gate.to_json())
    name = models.find(connection, tenant_id, version).name
    if not gate.passed:
        _note(connection, tenant_id, "model.rejected", name, version, gate.refusal, actor)
        message = f"version {version} does not serve: {gate.refusal}"
        alerts.raise_alert(connection, tenant_id, REJECTED, name, message)
        return False
    alerts.resolve(connection, tenant_id, REJECTED, [name])
    if governance.approval:
        ask_approval(
            connection, tenant_id, version, actor=actor, why="trained, and passed its gate"
        )
        return False
    _deploy(connection, tenant_id, version, actor, "trained, and passed its gate",
            wait_s=_SCORED_BY_THE_RUN_S)  # fmt: skip
    return True


def ask_approval(
    connection: Connection, tenant_id: str, version: int, *, actor: str, why: str
) -> None:
    """Wait with a version for a person's approval; an alert says so."""
    name = models.find(connection, tenant_id, version).name
    models.describe(connection, tenant_id, version, approval_asked_at=func.now())
    _note(connection, tenant_id, "model.approval_asked", name, version, why, actor)
    message = (
        f"version {version} waits for a person: `galena model show {tenant_id} {version}`, then"
        f" `galena model approve {tenant_id} {version}`, or `retire`"
    )
    alerts.raise_alert(connection, tenant_id, AWAITS, name, message)


def approve(connection: Connection, tenant_id: str, version: int, *, actor: str, why: str) -> None:
    """Note that a person lets this version serve. Raises GalenaError where it cannot any more."""
    models.lock(connection, tenant_id)
    found = _usable(connection, tenant_id, version)
    if found.approved_at is not None:
        raise GalenaError(f"Version {version} was approved by {found.approved_by} before.")
    models.describe(connection, tenant_id, version, approved_at=func.now(), approved_by=actor)
    _note(connection, tenant_id, "model.approve", found.name, version, why, actor)
    alerts.resolve(connection, tenant_id, AWAITS, [found.name])


def deploy(
    connection: Connection,
    tenant_id: str,
    version: int,
    governance: Governance,
    *,
    actor: str,
    why: str,
) -> None:
    """Let this version serve from the next scoring on; the open leads are queued to be scored by
    it. Raises GalenaError where it serves already, is retired, waits for its approval, or its
    document is not the one that was registered."""
    models.lock(connection, tenant_id)
    found = _usable(connection, tenant_id, version)
    if found.status == "deployed":
        raise GalenaError(f"Version {version} of tenant {tenant_id!r} serves already.")
    if governance.approval and found.approved_at is None and found.deployed_at is None:
        raise GalenaError(
            f"Version {version} needs a person's approval first, by this tenant's settings:"
            f" `galena model approve {tenant_id} {version}`."
        )
    _deploy(connection, tenant_id, version, actor, why)


def rollback(
    connection: Connection, tenant_id: str, name: Name = LEAD_MODEL, *, actor: str, why: str
) -> int:
    """Let the version serve again that served before the one that serves; return it.

    Raises GalenaError where there is none, or it is not usable any more.
    """
    models.lock(connection, tenant_id)
    serving = models.champion_version(connection, tenant_id, name)
    before = previous(connection, tenant_id, name)
    if serving is None or before is None:
        raise GalenaError(
            f"There is no version of {name} before the one that serves tenant {tenant_id!r}:"
            f" `galena model list {tenant_id}` shows those that could be deployed."
        )
    _usable(connection, tenant_id, before)
    _note(connection, tenant_id, "model.rollback", name, serving[0], why, actor)
    _deploy(connection, tenant_id, before, actor, f"rolled back from version {serving[0]}")
    return before


def previous(connection: Connection, tenant_id: str, name: Name = LEAD_MODEL) -> int | None:
    """The version that served before the one that serves, and was neither rolled back from since
    nor retired; None where there is none."""
    served: list[int] = []
    rolling_back = False
    for one in audit.of_models(connection, tenant_id, name):
        if one.action == "model.rollback":
            rolling_back = True
        elif one.action == "model.champion" and one.version is not None:
            if rolling_back and one.version in served:
                served = served[: len(served) - served[::-1].index(one.version)]
            else:
                served.append(one.version)
            rolling_back = False
    retired = {
        found.version
        for found in models.find_all(connection, tenant_id, name)
        if found.retired_at is not None
    }
    usable = [one for one in served[:-1] if one not in retired and one != served[-1]]
    return usable[-1] if usable else None


def retire(connection: Connection, tenant_id: str, version: int, *, actor: str, why: str) -> None:
    """Decide that a version serves no more; its scores and their reasons stay. Raises GalenaError
    while it serves or is tested."""
    models.lock(connection, tenant_id)
    found = models.find(connection, tenant_id, version)
    if found.retired_at is not None:
        raise GalenaError(f"Version {version} of tenant {tenant_id!r} is retired already.")
    if found.status in ("deployed", "challenger"):
        raise GalenaError(
            f"Version {version} is {found.status}: deploy another version, or end its test, first."
        )
    models.describe(connection, tenant_id, version, retired_at=func.now())
    _note(connection, tenant_id, "model.retire", found.name, version, why, actor)
    alerts.resolve(connection, tenant_id, AWAITS, [found.name])


def read_name(given: str) -> Name:
    """The name of a model that a person gave. Raises GalenaError, with the closest there is."""
    names = get_args(Name)
    if given not in names:
        (closest,) = difflib.get_close_matches(given, names, n=1, cutoff=0)
        raise GalenaError(f"{given!r} is no model; the closest is {closest!r}.")
    return cast(Name, given)


def _deploy(
    connection: Connection,
    tenant_id: str,
    version: int,
    actor: str,
    why: str,
    wait_s: float = 0.0,
) -> None:
    found = models.find(connection, tenant_id, version)
    tried = models.aliased(connection, tenant_id, "challenger", found.name)
    if tried is not None and tried.version == version:
        models.remove_challenger(
            connection, tenant_id, actor=actor, why="it serves", name=found.name
        )
    models.promote(connection, tenant_id, version, "champion", actor=actor, why=why)
    alerts.resolve(connection, tenant_id, AWAITS, [found.name])
    if found.name == LEAD_MODEL:
        queue.add_open_leads(connection, tenant_id, wait_s=wait_s)


def _usable(connection: Connection, tenant_id: str, version: int) -> ModelVersion:
    found = models.find(connection, tenant_id, version)
    if found.retired_at is not None:
        raise GalenaError(
            f"Version {version} of tenant {tenant_id!r} is retired: `galena model list {tenant_id}`"
            " shows the others."
        )
    models.load(connection, tenant_id, version)
    return found


def _note(
    connection: Connection,
    tenant_id: str,
    action: str,
    name: Name,
    version: int,
    why: str,
    actor: str,
) -> None:
    details = {"name": name, "version": version, "why": why}
    audit.note(connection, tenant_id, action, details, actor=actor)
