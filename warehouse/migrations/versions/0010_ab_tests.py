"""A/B tests of scoring models."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((_SQL / "0010_ab_tests.sql").read_text())
