"""External CRM databases: which there are, how far each has been read, and what came from them."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy would read the % in format() as parameters.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    sql = Path(__file__).parent.parent / "sql" / "0003_sources.sql"
    connection.execute(sql.read_text())
