"""Batch predictions."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0012_predictions.sql").read_text())
