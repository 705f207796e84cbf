"""What a lead's score was at a time and what moved between two, as functions for readers."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0004_score_history.sql").read_text())
