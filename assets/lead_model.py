"""A tenant's lead scoring model: trained, registered, recorded in MLflow, promoted."""

import hashlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from dagster import AssetExecutionContext, DagsterRun, Failure, MaterializeResult, asset

from assets.lead_features import lead_features
from assets.partitions import tenant_partitions
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from ml.algorithm import Algorithm
    from ml.settings import TrainingSettings
    from ml.training import Search, Trained
    from warehouse.database import Database
    from warehouse.features import FeatureSet
    from warehouse.training_recording import Recording


class RunContext(Protocol):
    """What a training needs of the context of an asset or an op."""

    @property
    def run(self) -> DagsterRun: ...


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
    """The model that is best on outcomes it did not see, or the base rate where none is better than
    it; with its figures, what the leakage audit found, and figures by group."""
    return train_tenant(context, warehouse, mlflow, context.partition_key)


def train_tenant(
    context: RunContext, warehouse: Warehouse, mlflow: MlflowTracking, tenant_id: str
) -> MaterializeResult[None]:
    """Train, register, decide whether it serves, and record; the training's job tells how far it
    is."""
    from assets import model_record
    from warehouse import models
    from warehouse.training_jobs import RUN_TAG
    from warehouse.training_recording import recorded

    database, run_id = warehouse.database, context.run.run_id
    asked_by = context.run.tags.get(RUN_TAG)
    with recorded(database, tenant_id, run_id=run_id, job_id=asked_by) as job:
        feature_set, settings, trained = _trained(database, tenant_id, job)
        with database.tenant(tenant_id) as connection:
            version = models.register(
                connection,
                tenant_id,
                trained.model,
                feature_set=feature_set.feature_set,
                data=feature_set.snapshot(),
                configuration=settings.model_dump(mode="json"),
                metrics=trained.report.to_json(),
                run_id=run_id,
            )
            job.registers(
                connection,
                version,
                algorithm=trained.report.algorithm,
                hyperparameters=trained.report.hyperparameters,
                metrics=model_record.figures(trained.report),
            )
            # In one transaction: a model that is to serve serves as soon as it is there.
            serves = job.request.promote and _decided(
                connection, tenant_id, version, trained, settings, run_id
            )
        if serves:
            model_record.raise_alarms(database, tenant_id, trained.report)
        done = model_record.Registered(
            tenant_id, version, context.run, feature_set, settings, trained
        )
        recorded_in = model_record.recorded_or_alert(mlflow, database, done, champion=serves)
    with database.tenant(tenant_id) as connection:
        found = models.find(connection, tenant_id, version)
    return MaterializeResult(
        metadata={**model_record.decided(found), **model_record.metadata(done, recorded_in)}
    )


def _decided(
    connection: "Connection",
    tenant_id: str,
    version: int,
    trained: "Trained",
    settings: "TrainingSettings",
    run_id: str,
) -> bool:
    """Whether the version serves, by its gate and the tenant's governance."""
    from warehouse import deployment, model_gate

    governance = settings.governance
    gate = model_gate.judged(connection, tenant_id, trained, governance)
    return deployment.after_training(
        connection, tenant_id, version, gate, governance, actor=f"run {run_id}"
    )


def _trained(
    database: "Database", tenant_id: str, job: "Recording"
) -> "tuple[FeatureSet, TrainingSettings, Trained]":
    from ml import training
    from ml.history import History
    from ml.spec import FeatureSpec
    from warehouse import attribute_writes, features, pooled_models, training_settings

    with database.tenant(tenant_id) as connection:
        feature_set = features.find(connection, tenant_id, job.request.feature_set)
        if feature_set is None:
            raise Failure(
                f"Tenant {tenant_id!r} has no feature set: materialize lead_features first."
            )
        # In one transaction with finding it: what an open job learns from is not deleted.
        job.learns_from(
            connection, feature_set=feature_set.feature_set, rows=feature_set.rows,
            sha256=feature_set.sha256,
        )  # fmt: skip
        job.validates_by(connection, training.VALIDATION)
        settings = training_settings.find(connection, tenant_id)
        writes = attribute_writes.written_after(connection, tenant_id)
        pooled = pooled_models.newest(connection) if settings.pooling else None
    settings = _as_asked(settings, job)
    with database.reader(tenant_id) as reader:
        rows = features.rows(reader, tenant_id, feature_set.feature_set)
    if rows.height != feature_set.rows:
        raise Failure(
            f"Feature set {feature_set.feature_set} has {rows.height} of {feature_set.rows} rows:"
            " materialize lead_features anew."
        )
    trained = training.train(
        History.of(FeatureSpec.from_json(feature_set.spec), rows),
        trained_at=datetime.now(UTC),
        horizon_days=feature_set.horizon_days,
        settings=settings,
        pooled=pooled,
        written_after=writes,
        search=_search(database, tenant_id, feature_set.sha256, settings, job),
        progress=job.progress,
    )
    return feature_set, settings, trained


def _as_asked(settings: "TrainingSettings", job: "Recording") -> "TrainingSettings":
    """The tenant's settings, with what the job was asked to do differently."""
    from ml.settings import TrainingSettings, Tuning

    asked = job.request
    tuning = Tuning(
        trials=settings.tuning.trials if asked.trials is None else asked.trials,
        seconds=settings.tuning.seconds if asked.seconds is None else asked.seconds,
    )
    algorithms = asked.algorithms or settings.algorithms
    return TrainingSettings.model_validate(
        {**settings.model_dump(), "algorithms": algorithms, "tuning": tuning}
    )


def _search(
    database: "Database",
    tenant_id: str,
    sha256: str,
    settings: "TrainingSettings",
    job: "Recording",
) -> "Search | None":
    """The search that the settings ask for; it goes on where a killed one on this data ended."""
    if not settings.tuning.trials:
        return None
    from ml import tuning
    from warehouse import tuning_trials

    trials, ends = settings.tuning.trials, time.monotonic() + settings.tuning.seconds

    def search(
        algorithm: "type[Algorithm]",
        evaluate: "Callable[[Algorithm, Callable[[int, float], None]], float]",
    ) -> "Algorithm":
        # With other columns or directions the same data give other losses.
        decided = settings.model_dump_json(include={"monotone", "keep", "drop"})
        data = hashlib.sha256(f"{sha256} {decided}".encode()).hexdigest()
        study = tuning_trials.study_name(data, algorithm.name)
        with database.tenant(tenant_id) as connection:
            finished = tuning_trials.finished(connection, tenant_id, study)
        losses = [trial.value for trial in finished if trial.value is not None]

        def record(trial: tuning.Trial) -> None:
            with database.tenant(tenant_id) as connection:
                tuning_trials.record(connection, tenant_id, study, trial)
            losses.extend([trial.value] if trial.value is not None else [])
            done = (trial.number + 1) / trials
            best = {"best log_loss": min(losses)} if losses else {}
            job.progress(f"trial {trial.number + 1} of {trials}", 0.05 + 0.25 * done, best)

        return tuning.tune(
            algorithm,
            evaluate,
            trials=trials,
            time_left=lambda: ends - time.monotonic(),
            finished=finished,
            record=record,
        ).best

    return search
