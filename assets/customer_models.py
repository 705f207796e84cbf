"""A tenant's models of its customers and deals: trained, registered, and what they say written."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from assets.crm_records import crm_records
from assets.lead_model import RunContext
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster._core.definitions.metadata import RawMetadataValue

    from assets.customer_learning import Learner, Learnt
    from ml.kinds import Name
    from warehouse.database import Database
    from warehouse.training_recording import Recording

_PAGE = "model_page_failed"


@asset(
    partitions_def=tenant_partitions,
    group_name="customers",
    deps=[crm_records],
    kinds={"lightgbm", "postgres"},
    pool="batch",
)
def customer_churn(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """The probability that each present customer leaves within the tenant's horizon, with its
    reasons, by a model judged on outcomes it had not seen."""
    return train_model(context, warehouse, context.partition_key, "customer_churn")


@asset(
    partitions_def=tenant_partitions,
    group_name="customers",
    deps=[crm_records],
    kinds={"lightgbm", "postgres"},
    pool="batch",
)
def deal_value(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """What each open deal is expected to bring if it is won, with an interval and reasons, by a
    model judged on deals it had not seen."""
    return train_model(context, warehouse, context.partition_key, "deal_value")


@asset(
    partitions_def=tenant_partitions,
    group_name="customers",
    deps=[crm_records],
    kinds={"scikitlearn", "postgres"},
    pool="batch",
)
def customer_segments(
    context: AssetExecutionContext, warehouse: Warehouse
) -> MaterializeResult[None]:
    """The segment of each present customer, as many as the data tell apart, named by what sets them
    apart."""
    return train_model(context, warehouse, context.partition_key, "customer_segments")


def train_model(
    context: RunContext, warehouse: Warehouse, tenant_id: str, name: "Name"
) -> MaterializeResult[None]:
    """Train, register and deploy the tenant's model of this name, and write what the one that
    serves says. What the tenant lacks for it is noted, and is no failure."""
    from warehouse.training_jobs import RUN_TAG
    from warehouse.training_recording import recorded

    database, run = warehouse.database, context.run
    asked_by = run.tags.get(RUN_TAG)
    with recorded(database, tenant_id, run_id=run.run_id, job_id=asked_by, model=name) as job:
        learnt, version = _registered(database, tenant_id, name, job, run.run_id)
        page = {} if version is None else _page_or_alert(database, tenant_id, name, version)
    predicted = predict(warehouse, tenant_id, name, run.run_id)
    return MaterializeResult(metadata={**_metadata(learnt, version), **page, **predicted})


def predict(
    warehouse: Warehouse, tenant_id: str, name: "Name", run_id: str
) -> "dict[str, RawMetadataValue]":
    """Write what the model that serves says of all present customers, or open deals, as metadata of
    a materialization; where none serves, what was written before goes."""
    from warehouse import customer_scoring

    summary = customer_scoring.predict_all(
        warehouse.database, tenant_id, name, run_id, now=datetime.now(UTC)
    )
    if summary is None:
        return {"dagster/row_count": 0}
    return {"dagster/row_count": summary.rows, "serving version": summary.model_version}


def _registered(
    database: "Database", tenant_id: str, name: "Name", job: "Recording", run_id: str
) -> "tuple[Learnt, int | None]":
    """What was learnt, and the version that it is registered as; None where nothing is."""
    from assets import customer_learning
    from warehouse import customer_predictions, deployment, models, training_settings

    learners: Mapping[str, Learner] = {
        "customer_churn": customer_learning.churn,
        "deal_value": customer_learning.value,
        "customer_segments": customer_learning.segments,
    }
    learnt = learners[name](database, tenant_id, job, datetime.now(UTC))
    with database.tenant(tenant_id) as connection:
        customer_predictions.note_lacking(connection, tenant_id, name, learnt.lacking)
        if learnt.model is None:
            job.progress(f"nothing to learn from: {learnt.lacking}", 1.0)
            return learnt, None
        version = models.register(
            connection,
            tenant_id,
            learnt.model,
            name=name,
            data=learnt.data,
            metrics=learnt.metrics,
            run_id=run_id,
        )
        job.registers(
            connection,
            version,
            algorithm=learnt.algorithm,
            hyperparameters={},
            metrics=learnt.figures,
        )
        if job.request.promote:
            governance = training_settings.find(connection, tenant_id).governance
            gate = learnt.gate(connection, governance)
            deployment.after_training(
                connection, tenant_id, version, gate, governance, actor=f"run {run_id}"
            )
    return learnt, version


def _page_or_alert(
    database: "Database", tenant_id: str, name: "Name", version: int
) -> "dict[str, RawMetadataValue]":
    """Make the page of the version, which may serve already, and tell the command that writes it;
    where that fails, raise an alert: what serves does not depend on its page."""
    from warehouse import alerts, model_pages
    from warehouse.errors import in_one_line

    try:
        model_pages.make(database, tenant_id, version)
    except Exception as error:
        message = f"model version {version} has no page: {in_one_line(error)}"
        with database.tenant(tenant_id) as connection:
            alerts.raise_alert(connection, tenant_id, _PAGE, name, message)
        return {"page": "none: see `galena alerts`"}
    with database.tenant(tenant_id) as connection:
        alerts.resolve(connection, tenant_id, _PAGE, [name])
    return {"page": f"galena model page {tenant_id} {version}"}


def _metadata(learnt: "Learnt", version: int | None) -> "dict[str, RawMetadataValue]":
    return {
        **({"lacking": learnt.lacking} if learnt.lacking else {}),
        **({} if version is None else {"model version": version, "algorithm": learnt.algorithm}),
        **learnt.figures,
        **{name: MetadataValue.md(table) for name, table in learnt.tables.items()},
        **({"data sha256": learnt.data["sha256"]} if learnt.data else {}),
    }
