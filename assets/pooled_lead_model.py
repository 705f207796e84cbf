"""The model shared by the tenants that agreed to it, for those with too few outcomes."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from dagster import (
    AssetExecutionContext,
    MaterializeResult,
    MetadataValue,
    asset,
    define_asset_job,
)

from assets.lead_features import lead_features
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from ml.algorithm import Sample
    from ml.pooled_model import PooledModel
    from warehouse.database import Database


@asset(group_name="leads", deps=[lead_features], kinds={"scipy"}, pool="batch")
def pooled_lead_model(
    context: AssetExecutionContext, warehouse: Warehouse
) -> MaterializeResult[None]:
    """Curves of what the activity of leads says, common to all tenants whose settings say pooling,
    made anew from their newest feature sets and measured on tenants they were not fitted on.

    Nothing is published where they do no better than the tenants' base rates, or where fewer than
    three tenants can be in them; then none is kept either, for who was in the last version may have
    withdrawn.
    """
    from ml import pooling
    from warehouse import pooled_models

    database = warehouse.database
    try:
        model = pooling.fit(_samples(database))
    except pooling.TooFewTenantsError as error:
        with database.operator() as connection:
            pooled_models.delete(connection)
        return MaterializeResult(metadata={"published": f"no: {error}"})
    with database.operator() as connection:
        if model.worth.signal:
            version = pooled_models.save(connection, model, run_id=context.run.run_id)
            published = f"version {version}"
        else:
            pooled_models.delete(connection)
            published = "no signal: no better than the tenants' base rates"
    return MaterializeResult(
        metadata={
            "published": published,
            # No tenant's name: what a run logs is not deleted with a tenant.
            "tenants": model.tenants,
            "rows": model.rows,
            "log_loss of tenants left out": model.worth.log_loss,
            "log_loss of base rate": model.worth.base_rate,
            "standard error of the difference": model.worth.error,
            "curves": _table(model),
        }
    )


refresh_pooled_model = define_asset_job(
    "refresh_pooled_model",
    selection=[pooled_lead_model],
    description="The pooled model anew: who withdrew is no longer in it.",
)


def _samples(database: "Database") -> "Iterator[Sample]":
    """One at a time, each read in a session of its tenant."""
    from warehouse import tenants
    from warehouse.errors import GalenaError

    for tenant in tenants.find_all(database):
        # A tenant may be removed at any moment; one whose settings cannot be read has not agreed,
        # and gets its alert with the night's trainings.
        with suppress(GalenaError):
            if tenant.status == "active" and (sample := _sample(database, tenant.tenant_id)):
                yield sample


def _sample(database: "Database", tenant_id: str) -> "Sample | None":
    """The newest rows of a tenant that agreed; None of one that did not, or has none."""
    from ml.history import History
    from ml.pooling import MOST_ROWS
    from ml.spec import FeatureSpec
    from warehouse import features, training_settings

    with database.tenant(tenant_id) as connection:
        agreed = training_settings.find(connection, tenant_id).pooling
        feature_set = features.newest(connection, tenant_id) if agreed else None
    if feature_set is None:
        return None
    with database.reader(tenant_id) as reader:
        rows = features.rows(reader, tenant_id, feature_set.feature_set).tail(MOST_ROWS)
    history = History.of(FeatureSpec.from_json(feature_set.spec), rows)
    return history.sample(history.all_rows(), {})


def _table(model: "PooledModel") -> MetadataValue:
    """Each curve: what a value up to each edge adds to the log-odds."""
    lines = ["| feature | up to | log-odds |", "|---|---|---|"]
    for name, curve in model.curves.items():
        bounds = [*(f"{edge:g}" for edge in curve.edges), "more", "missing"]
        lines += [
            f"| {name} | {bound} | {cell:+.2f} |"
            for bound, cell in zip(bounds, curve.log_odds, strict=True)
        ]
    return MetadataValue.md("\n".join(lines))
