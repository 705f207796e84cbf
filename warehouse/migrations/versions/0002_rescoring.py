"""Changes of leads and interactions queue up to be rescored; rescorings, failures and alerts."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read the % in format() as parameters.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0002_rescoring.sql").read_text())
