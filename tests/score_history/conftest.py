"""Fixtures: databases with the past of tests.score_history.past."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection

from tests.conftest import in_database
from tests.score_history.past import MINE, fill
from warehouse.database import Database
from warehouse.embedded import Urls


@pytest.fixture(scope="module")
def shared_urls(server: Urls, new_database: Callable[[str], str]) -> Urls:
    """A database with both tenants' scores for tests that change nothing in it."""
    urls = in_database(server, new_database("template"))
    found = Database(urls.app)
    fill(found)
    found.close()
    return urls


@pytest.fixture
def both(shared_urls: Urls) -> Iterator[Database]:
    found = Database(shared_urls.app)
    yield found
    found.close()


@pytest.fixture
def mine(both: Database) -> Iterator[Connection]:
    with both.tenant(MINE) as connection:
        yield connection


@pytest.fixture
def own(database: Database) -> Database:
    """A database of its own for a test that breaks things in it."""
    fill(database)
    return database
