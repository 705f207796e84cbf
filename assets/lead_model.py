"""A tenant's lead scoring model: trained, registered, recorded in MLflow, promoted."""

import base64
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, Failure, MaterializeResult, MetadataValue, asset

from assets.lead_features import lead_features
from assets.partitions import tenant_partitions
from resources.mlflow import UI_PORT, MlflowTracking
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from ml.training import HoldOut, Trained
    from warehouse.database import Database
    from warehouse.features import FeatureSet


@asset(
    partitions_def=tenant_partitions,
    group_name="leads",
    deps=[lead_features],
    kinds={"lightgbm", "mlflow"},
    pool="batch",
)
def lead_model(
    context: AssetExecutionContext, warehouse: Warehouse, mlflow: MlflowTracking
) -> MaterializeResult[None]:
    """A calibrated sum of tables learnt from the newest feature set, with its figures on the
    newest outcomes, which it did not see."""
    from ml.model import dumps
    from warehouse import models

    tenant_id, database = context.partition_key, warehouse.database
    feature_set, trained = _train(context, database, tenant_id)
    with database.tenant(tenant_id) as connection:
        version = models.register(
            connection,
            tenant_id,
            trained.model,
            feature_set=feature_set.feature_set,
            metrics=trained.report.to_json(),
            run_id=context.run.run_id,
        )
    hold_out = trained.report.hold_out
    pictures = _pictures(hold_out) if hold_out else {}
    recorded = mlflow.log_training(
        tenant_id,
        dagster_run=context.run,
        run_name=f"lead_model {version}",
        parameters={"stage": trained.model.evidence.stage, "rounds": trained.report.rounds},
        metrics=_figures(hold_out) if hold_out else {},
        artifacts={"model.json": dumps(trained.model), **pictures},
        tags={"version": str(version), "feature_set": str(feature_set.feature_set)},
    )
    with database.tenant(tenant_id) as connection:
        models.link_mlflow(connection, tenant_id, version, recorded.run_id)
        actor = f"run {context.run.run_id}"
        models.promote(connection, tenant_id, version, "champion", actor=actor, why="trained")
    mlflow.set_alias(tenant_id, "champion", recorded.run_id)
    return MaterializeResult(
        metadata={
            "model version": version,
            "stage": trained.model.evidence.stage,
            "outcomes": trained.model.evidence.outcomes,
            **({"lacking": trained.report.lacking} if trained.report.lacking else {}),
            **(_figures(hold_out) if hold_out else {}),
            **{name: _picture(png) for name, png in pictures.items()},
            "trees": trained.report.rounds,
            "feature set": feature_set.feature_set,
            "feature set made by": MetadataValue.dagster_run(feature_set.run_id),
            "mlflow run id": recorded.run_id,
            # Answers while `galena up --mlflow` runs, unless another program has its port.
            "mlflow run": MetadataValue.url(
                f"http://127.0.0.1:{UI_PORT}/#/experiments/{recorded.experiment_id}"
                f"/runs/{recorded.run_id}"
            ),
        }
    )


def _train(
    context: AssetExecutionContext, database: "Database", tenant_id: str
) -> "tuple[FeatureSet, Trained]":
    import numpy as np

    from ml import training
    from ml.spec import FeatureSpec
    from warehouse import features

    with database.tenant(tenant_id) as connection:
        feature_set = features.newest(connection, tenant_id)
    if feature_set is None:
        raise Failure(f"Tenant {tenant_id!r} has no feature set: materialize lead_features first.")
    with database.reader(tenant_id) as reader:
        rows = features.rows(reader, tenant_id, feature_set.feature_set)
    spec = FeatureSpec.from_json(feature_set.spec)
    matrix = rows["features"].explode().to_numpy().reshape(rows.height, len(spec.features))
    trained = training.train(
        spec,
        np.asarray(matrix, dtype=np.float32),
        rows["label"].to_numpy(),
        rows["snapshot_at"].dt.replace_time_zone(None).to_numpy(),
        rows["label_known_at"].dt.replace_time_zone(None).to_numpy(),
        trained_at=datetime.now(UTC),
        horizon_days=feature_set.horizon_days,
        progress=lambda step, done: context.log.info(f"{done:.0%}: {step}"),
    )
    return feature_set, trained


def _figures(hold_out: "HoldOut") -> dict[str, float]:
    """The hold-out's figures by name: of the model, and of what it has to beat."""
    return {
        **{f"hold-out {name}": value for name, value in asdict(hold_out.model).items()},
        "hold-out window_auc": hold_out.window_auc["model"],
        "hold-out window_auc of logistic regression": hold_out.window_auc["logistic"],
        "hold-out log_loss of logistic regression": hold_out.logistic.log_loss,
        "hold-out log_loss of base rate": hold_out.base_rate.log_loss,
    }


def _pictures(hold_out: "HoldOut") -> dict[str, bytes]:
    from ml import plots

    return {
        "calibration.png": plots.calibration_plot(hold_out.calibration),
        "importance.png": plots.importance_plot(hold_out.importance),
    }


def _picture(png: bytes) -> MetadataValue:
    return MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")
