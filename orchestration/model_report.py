"""What `galena model` prints: versions, one version, and what was decided about them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from ml.kinds import KINDS, Name
from orchestration.report import listing
from warehouse import audit, customer_predictions, models
from warehouse.database import Database
from warehouse.models import ModelVersion


def versions(console: Console, database: Database, tenant_id: str, name: Name | None) -> None:
    """A line for each version."""
    shown = listing(
        "version", "model", "status", "stage", "trained (UTC)", "figures", numbers=("outcomes",)
    )
    with database.tenant(tenant_id) as connection:
        found = models.find_all(connection, tenant_id, name)
        lacking = customer_predictions.lacking(connection, tenant_id)
    for one in found:
        shown.add_row(
            str(one.version),
            one.name,
            one.status.replace("_", " "),
            one.stage.replace("_", " "),
            _time(one.trained_at),
            escape(_worth(one)),
            f"{one.outcomes:,}",
        )
    console.print(shown if found else f"{tenant_id} has no such model yet.")
    for of, lacks in lacking.items():
        if name in (None, of):
            console.print(f"{of}: {lacks}", markup=False, highlight=False, soft_wrap=True)


def version(console: Console, database: Database, tenant_id: str, number: int) -> None:
    """All that is known of a version."""
    with database.tenant(tenant_id) as connection:
        found = models.find(connection, tenant_id, number)
        document = models.artifact(connection, tenant_id, number)
    kind = KINDS[found.name]
    model = kind.read(document)
    lines = {
        "version": f"{found.version} of {found.name}",
        "description": found.description,
        "status": _status(found),
        "type": f"{kind.model_type}, of each {kind.subject}",
        "framework": kind.framework,
        "stage": f"{found.stage.replace('_', ' ')}, {found.outcomes:,} outcomes",
        "data": _pairs(found.data),
        "trained": f"{_time(found.trained_at)} UTC, Dagster run {found.run_id}",
        "MLflow run": found.mlflow_run_id or "",
        "document": f"{len(document):,} bytes, sha256 {found.sha256}",
        "figures": _worth(found),
        "takes": "; ".join(
            f"{column.name} ({column.kind}"
            + (f": {', '.join(column.categories)})" if column.categories else ")")
            for column in model.spec.columns
        ),
        "and activity": ", ".join(model.spec.interaction_kinds),
        "configuration": _pairs(found.configuration),
    }
    for label, text in lines.items():
        if text:
            console.print(f"{label:14}{text}", markup=False, highlight=False, soft_wrap=True)
    for check in (found.gate or {}).get("checks", ()):
        verdict = "passed" if check["passed"] else "failed"
        console.print(f"{'gate':14}{check['name']} {verdict}: {check['sentence']}",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip


def history(console: Console, database: Database, tenant_id: str, name: Name | None) -> None:
    """A line for each decision, the oldest first."""
    shown = listing("at (UTC)", "who", "what", "model", "why", numbers=("version",))
    with database.tenant(tenant_id) as connection:
        found = audit.of_models(connection, tenant_id, name)
    for one in found:
        what = one.action.removeprefix("model.").replace(".", " ").replace("_", " ")
        shown.add_row(
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            escape(one.actor),
            what,
            one.name,
            escape(one.why),
            str(one.version or ""),
        )
    console.print(shown if found else f"Nothing was decided about models of {tenant_id} yet.")


def _status(found: ModelVersion) -> str:
    said = [found.status.replace("_", " ")]
    times = {
        "registered": found.registered_at,
        f"approved by {found.approved_by}": found.approved_at,
        "last deployed": found.deployed_at,
        "retired": found.retired_at,
    }
    said += [f"{what} {_time(at)} UTC" for what, at in times.items() if at is not None]
    return ", ".join(said)


def _worth(found: ModelVersion) -> str:
    """The figures that say what a version is worth, whatever kind it is of."""
    lacking = found.metrics.get("lacking")
    held_out = (found.metrics.get("hold_out") or {}).get("model")
    numbers = held_out or {
        name: value for name, value in found.metrics.items() if isinstance(value, float)
    }
    told = ", ".join(_figures(numbers))
    return "; ".join(filter(None, (told, lacking)))


def _figures(numbers: Mapping[str, Any]) -> Iterator[str]:
    for name in ("auc", "log_loss", "brier", "ece", "lift_at_10"):
        if name in numbers:
            yield f"{name} {numbers[name]:.3f}"
    if "auc" not in numbers:
        yield from (f"{name} {value:.3f}" for name, value in numbers.items())


def _pairs(document: Mapping[str, Any]) -> str:
    known = {name: value for name, value in document.items() if value not in (None, [], {})}
    return ", ".join(f"{name} {value}" for name, value in known.items())


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
