"""The warehouse as a Dagster resource."""

from typing import TYPE_CHECKING

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

if TYPE_CHECKING:
    from warehouse.database import Database


class Warehouse(ConfigurableResource["Warehouse"]):
    """database_url: libpq URL of the application's login, which owns nothing."""

    database_url: str
    _database: "Database | None" = PrivateAttr(default=None)

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        if self._database is not None:
            self._database.close()

    @property
    def database(self) -> "Database":
        from warehouse.database import Database

        if self._database is None:
            self._database = Database(self.database_url)
        return self._database
