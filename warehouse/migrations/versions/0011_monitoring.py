"""What came of the scores that were served, week by week, and the page of each model."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0011_monitoring.sql").read_text())
