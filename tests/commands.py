"""Commands run in this process; the fixture `galena` runs them on a database of its own."""

import re
from collections.abc import Callable

from typer.testing import CliRunner, Result

from orchestration.cli import app
from warehouse.errors import GalenaError

Galena = Callable[..., Result]


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def refused(result: Result, words: str) -> None:
    assert isinstance(result.exception, GalenaError), result.output
    assert re.search(words, str(result.exception)), result.exception
