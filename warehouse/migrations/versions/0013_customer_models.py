"""Models of customers and deals, and what they say."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0013_customer_models.sql").read_text())
