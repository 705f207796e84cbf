"""The page of each model version: made when it is trained, kept with it, read by its digest."""

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from ml import factor_shapes, model_page, plots
from ml.model import Model
from ml.model_page import Facts
from ml.spec import FeatureSpec
from ml.translation import translate
from warehouse import features, models, served_scores
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.models import ModelVersion
from warehouse.schema import model_pages

# What a model's numbers depend on, beside its data.
_PACKAGES = ("galena", "lightgbm", "numpy", "polars", "scikit-learn", "scipy")
# Of the strongest factors it is shown how they move the score.
_SHAPES = 6


def make(
    database: Database,
    tenant_id: str,
    version: int,
    *,
    model: Model | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """Make a version's page of what is registered, and store it; return it.

    model: the version's own, for the shapes of its factors over the rows that it learnt from.
    pictures: ml.model_page.pictures of its metrics, where they are drawn already.
    """
    with database.tenant(tenant_id) as connection:
        found = models.find(connection, tenant_id, version)
    drawn = dict(model_page.pictures(found.metrics) if pictures is None else pictures)
    if model is not None:
        drawn |= _shapes(database, tenant_id, found, model)
    html = model_page.render(_facts(tenant_id, found), drawn)
    values = {"html": html, "sha256": hashlib.sha256(html.encode()).hexdigest()}
    statement = insert(model_pages).values(tenant_id=tenant_id, version=version, **values)
    with database.tenant(tenant_id) as connection:
        connection.execute(
            statement.on_conflict_do_update(index_elements=["tenant_id", "version"], set_=values)
        )
    return html


def find(connection: Connection, tenant_id: str, version: int) -> str:
    """A version's page. Raises GalenaError when there is none, or it is not the one stored."""
    models.find(connection, tenant_id, version)
    row = connection.execute(
        select(model_pages.c.html, model_pages.c.sha256).where(
            model_pages.c.tenant_id == tenant_id, model_pages.c.version == version
        )
    ).one_or_none()
    if row is None:
        raise GalenaError(
            f"Model version {version} of tenant {tenant_id!r} has no page: it was trained before"
            " there were any, or making it failed, of which there is an alert;"
            f" `galena model show {tenant_id} {version}` has its figures."
        )
    if hashlib.sha256(row.html.encode()).hexdigest() != row.sha256:
        raise GalenaError(
            f"The page of model version {version} of tenant {tenant_id!r} is not as it was stored"
            " (sha256 differs): restore its row in ml.model_pages from a backup."
        )
    html: str = row.html
    return html


def environment() -> str:
    """Python and the packages that a model's numbers depend on, one name==version a line."""
    lines = [f"python=={platform.python_version()}"]
    return "\n".join([*lines, *(f"{name}=={metadata.version(name)}" for name in _PACKAGES)]) + "\n"


def _facts(tenant_id: str, found: ModelVersion) -> Facts:
    return Facts(
        tenant_id=tenant_id,
        name=found.name,
        version=found.version,
        stage=found.stage,
        outcomes=found.outcomes,
        trained_at=found.trained_at.isoformat(timespec="seconds"),
        run_id=found.run_id,
        sha256=found.sha256,
        metrics=found.metrics,
        data=found.data,
        configuration=found.configuration,
        gate=found.gate,
        packages=environment(),
    )


def _shapes(
    database: Database, tenant_id: str, found: ModelVersion, model: Model
) -> dict[str, bytes]:
    strongest = list((found.metrics.get("hold_out") or {}).get("importance", {}))[:_SHAPES]
    with database.tenant(tenant_id) as connection:
        learnt = features.find(connection, tenant_id, found.feature_set)
    if learnt is None or not strongest:
        return {}
    spec = FeatureSpec.from_json(learnt.spec)
    with database.reader(tenant_id) as reader:
        rows = served_scores.training_inputs(
            reader, tenant_id, found.feature_set, len(spec.features)
        )
    shapes = factor_shapes.shapes(model, translate(rows, spec, model.spec), strongest)
    return {"factors.png": plots.shapes_plot(shapes)} if shapes and len(rows) else {}
