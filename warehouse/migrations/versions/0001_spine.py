"""CRM records, models, lead scores and their published views, each tenant behind its policies."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

_SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read the % in format() as parameters.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    for part in ("tables", "tenancy", "history", "serving"):
        connection.execute((_SQL / f"0001_{part}.sql").read_text())
