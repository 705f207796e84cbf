"""What is told of a trained model: to MLflow, in Dagster's metadata, and as alerts."""

import base64
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dagster import DagsterRun, MetadataValue
from dagster._core.definitions.metadata import RawMetadataValue

from resources.mlflow import UI_PORT, MlflowTracking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml.comparison import Difference
    from ml.report import Report
    from ml.settings import TrainingSettings
    from ml.training import Trained
    from resources.mlflow import MlflowRun
    from warehouse.database import Database
    from warehouse.features import FeatureSet
    from warehouse.models import ModelVersion

_LEAKAGE, _FAIRNESS, _MLFLOW = "leakage_suspected", "unfair_scores", "mlflow_failed"


@dataclass(frozen=True)
class Registered:
    """A training whose model is registered as this version, and the Dagster run that made it."""

    tenant_id: str
    version: int
    run: DagsterRun
    feature_set: "FeatureSet"
    settings: "TrainingSettings"
    trained: "Trained"

    @cached_property
    def pictures(self) -> dict[str, bytes]:
        """File name -> PNG."""
        from ml import model_page

        return model_page.pictures(self.trained.report.to_json())


def figures(report: "Report") -> dict[str, float]:
    """The hold-out's figures by name: of the model, and of what it has to beat."""
    found = report.hold_out
    if found is None:
        return {}
    against = found.against_base_rate
    return {
        **{f"hold-out {name}": value for name, value in asdict(found.model).items()},
        "hold-out window_auc": found.window_auc,
        **({} if found.coverage is None else {"hold-out coverage": found.coverage}),
        "hold-out log_loss of base rate": found.base_rate.log_loss,
        "log_loss against base rate": against.mean,
        "log_loss against base rate low": against.low,
        "log_loss against base rate high": against.high,
        **{
            # MLflow takes no + in the name of a figure.
            f"hold-out log_loss of {name.replace(' + ', ' and ')}": candidate.figures.log_loss
            for name, candidate in found.candidates.items()
        },
    }


def recorded_or_alert(
    mlflow: MlflowTracking, database: "Database", done: Registered, *, champion: bool
) -> "MlflowRun | None":
    """Make the page of the training, which is done, and record it in MLflow; where that fails,
    raise an alert and return None: what serves does not depend on the record of it."""
    from warehouse import alerts, model_pages, models
    from warehouse.errors import in_one_line

    tenant_id, version = done.tenant_id, done.version
    try:
        page = model_pages.make(
            database, tenant_id, version, model=done.trained.model, pictures=done.pictures
        )
        found = _in_mlflow(mlflow, done, page)
        if champion:
            mlflow.set_aliases(tenant_id, {"champion": found.run_id})
    except Exception as error:
        message = f"model version {version} is not recorded: {in_one_line(error)}"
        with database.tenant(tenant_id) as connection:
            alerts.raise_alert(connection, tenant_id, _MLFLOW, "", message)
        return None
    with database.tenant(tenant_id) as connection:
        models.link_mlflow(connection, tenant_id, version, found.run_id)
        alerts.resolve(connection, tenant_id, _MLFLOW, [""])
    return found


def _in_mlflow(mlflow: MlflowTracking, done: Registered, page: str) -> "MlflowRun":
    """Record the training: parameters, figures, plots, its page, the model's document, the data's
    digest, and the environment that made it."""
    from ml.model import dumps
    from warehouse import model_pages

    report, evidence = done.trained.report, done.trained.model.evidence
    parameters = {
        "stage": evidence.stage,
        "algorithm": report.algorithm,
        "calibration": report.calibration,
        **{
            f"{algorithm}.{name}": str(value)
            for algorithm, values in report.hyperparameters.items()
            for name, value in values.items()
        },
    }
    return mlflow.log_training(
        done.tenant_id,
        dagster_run=done.run,
        run_name=f"lead_model {done.version}",
        parameters=parameters,
        metrics=figures(report),
        artifacts={
            "page.html": page.encode(),
            "model.json": dumps(done.trained.model),
            "settings.json": done.settings.model_dump_json(indent=2).encode(),
            "environment.txt": model_pages.environment().encode(),
            **done.pictures,
        },
        tags={
            "version": str(done.version),
            "feature_set": str(done.feature_set.feature_set),
            "data sha256": done.feature_set.sha256,
            "data rows": str(done.feature_set.rows),
        },
    )


def metadata(done: Registered, recorded: "MlflowRun | None") -> dict[str, RawMetadataValue]:
    """The same for the materialization."""
    report, evidence = done.trained.report, done.trained.model.evidence
    return {
        "model version": done.version,
        "stage": evidence.stage,
        "outcomes": evidence.outcomes,
        "algorithm": report.algorithm,
        "calibration": report.calibration,
        **({"lacking": report.lacking} if report.lacking else {}),
        **figures(report),
        **_tables(report),
        **{
            name: MetadataValue.md(
                f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})"
            )
            for name, png in done.pictures.items()
        },
        "feature set": done.feature_set.feature_set,
        "data sha256": done.feature_set.sha256,
        "feature set made by": MetadataValue.dagster_run(done.feature_set.run_id),
        "page": f"galena model page {done.tenant_id} {done.version}",
        **_link(recorded),
    }


def decided(found: "ModelVersion") -> dict[str, RawMetadataValue]:
    """Whether the version serves, and what its gate said."""
    checks = (found.gate or {}).get("checks", ())
    rows = (
        f"{check['name']} | {'passed' if check['passed'] else 'failed'} | {check['sentence']}"
        for check in checks
    )
    told: dict[str, RawMetadataValue] = {"status": found.status.replace("_", " ")}
    return {**told, **({"gate": _table("check | verdict | why", rows)} if checks else {})}


def _link(recorded: "MlflowRun | None") -> dict[str, RawMetadataValue]:
    if recorded is None:
        return {"mlflow run id": "none: see `galena alerts`"}
    # Answers while `galena up --mlflow` runs, unless another program has its port.
    address = f"http://127.0.0.1:{UI_PORT}/#/experiments/{recorded.experiment_id}"
    return {
        "mlflow run id": recorded.run_id,
        "mlflow run": MetadataValue.url(f"{address}/runs/{recorded.run_id}"),
        "page in mlflow": MetadataValue.url(
            f"{address}/runs/{recorded.run_id}/artifacts/page.html"
        ),
    }


def raise_alarms(database: "Database", tenant_id: str, report: "Report") -> None:
    """An alert for each attribute that the audit kept out, and for each group that seldom enters
    the top tenth; those that no longer hold are resolved."""
    from warehouse import alerts

    wanted = {
        _LEAKAGE: {
            suspect.column: suspect.sentence
            for suspect in report.suspects
            if suspect.column not in report.kept
        },
        _FAIRNESS: {
            f"{alarm.attribute}: {alarm.group}": alarm.sentence
            for alarm in (report.fairness.alarms if report.fairness else ())
        },
    }
    with database.tenant(tenant_id) as connection:
        for kind, found in wanted.items():
            alerts.resolve(connection, tenant_id, kind, list(found), others=True)
            for subject, sentence in found.items():
                alerts.raise_alert(connection, tenant_id, kind, subject, sentence)


def _tables(report: "Report") -> dict[str, RawMetadataValue]:
    """Candidates, suspects and groups, as tables for people."""
    found: dict[str, RawMetadataValue] = {}
    if report.hold_out:
        found["candidates"] = _table(
            "algorithm | log-loss | AUC | window AUC | against the default",
            (
                f"{name} | {one.figures.log_loss:.4f} | {one.figures.auc:.3f} |"
                f" {one.window_auc:.3f} | {_beside(one.against_default)}"
                for name, one in report.hold_out.candidates.items()
            ),
        )
    if report.suspects:
        found["leakage audit"] = MetadataValue.md(
            "\n".join(
                f"- **{suspect.column}**"
                f" ({'kept' if suspect.column in report.kept else 'left out'}): {suspect.sentence}"
                for suspect in report.suspects
            )
        )
    if report.fairness:
        found["by group"] = _table(
            "attribute | group | rows | rate | predicted | AUC | in top tenth",
            (
                f"{group.attribute} | {group.group} | {group.rows} | {group.conversion_rate:.1%} |"
                f" {group.predicted:.1%} | {'' if group.auc is None else f'{group.auc:.3f}'} |"
                f" {group.selected:.1%}"
                for group in report.fairness.groups
            ),
        )
    return found


def _table(heading: str, rows: "Iterable[str]") -> RawMetadataValue:
    lines = [heading, "|".join(["---"] * (heading.count("|") + 1)), *rows]
    return MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def _beside(default: "Difference | None") -> str:
    if default is None:
        return "default"
    return f"{default.mean:+.4f} ({default.low:+.4f} to {default.high:+.4f})"
