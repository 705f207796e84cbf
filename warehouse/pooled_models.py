"""The pooled model that is kept: any transaction reads it, the operator's alone writes it."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select

from warehouse.schema import pooled_models

if TYPE_CHECKING:
    from ml.pooled_model import PooledModel


def newest(connection: Connection) -> "PooledModel | None":
    """The version saved last; None where there is none.

    Raises ValueError where it is damaged."""
    from ml.pooled_model import PooledModel

    document = connection.scalar(
        select(pooled_models.c.model).order_by(pooled_models.c.version.desc()).limit(1)
    )
    return None if document is None else PooledModel.from_json(document)


def save(connection: Connection, model: "PooledModel", *, run_id: str) -> int:
    """Keep this version and no other; return its number.

    connection: the operator's. Versions before it were made of tenants that may have withdrawn.
    """
    delete(connection)
    version = connection.scalar(
        insert(pooled_models)
        .values(model=model.to_json(), run_id=run_id)
        .returning(pooled_models.c.version)
    )
    assert version is not None
    return int(version)


def delete(connection: Connection) -> None:
    """Keep no version. connection: the operator's."""
    connection.execute(pooled_models.delete())
