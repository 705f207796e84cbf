"""The model that tenants share which agreed to it."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    sql = Path(__file__).parent.parent / "sql" / "0007_pooled_models.sql"
    connection.execute(sql.read_text())
