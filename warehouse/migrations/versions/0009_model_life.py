"""The life of a model: its name, what it learnt from, its gate, approval and deployment."""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0009_model_life.sql").read_text())
