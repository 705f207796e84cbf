"""What the data checks said of each load, and what the next load is measured against."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read a % as the start of a parameter.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    sql = Path(__file__).parent.parent / "sql" / "0006_loads.sql"
    connection.execute(sql.read_text())
