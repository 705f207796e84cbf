"""Connections to a source's database, for reading only; what goes wrong there names no secret."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from warehouse.errors import GalenaError

_CONNECT_SECONDS = 10
_ANY_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
# Nothing is written whatever the login may; texts of keys do not hang on the server's settings; and
# a policy that would hide rows is an error, since hidden rows would be taken for deleted ones.
_POSTGRESQL = (
    "SET default_transaction_read_only = on",
    "SET timezone = 'UTC'",
    "SET datestyle = 'ISO, YMD'",
    "SET row_security = off",
)


class SourceError(GalenaError):
    """A source cannot be read."""


class DatabaseSaysError(SourceError):
    """What the source's database or its driver said. code: the SQLSTATE, where there is one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def connect(url_variable: str, patience_seconds: int) -> Iterator[Connection]:
    """A connection whose transactions can only read.

    url_variable: the environment variable with the SQLAlchemy URL.
    patience_seconds: how long one statement may take there.
    Raises SourceError, also for what goes wrong there later; it names neither URL nor password.
    """
    url = url_of(url_variable)
    secrets = _secrets(url)
    try:
        engine = create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args=_connect_args(url, patience_seconds),
        )
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise SourceError(_without(str(error), secrets)) from None

    @event.listens_for(engine, "handle_error")
    def put_into_words(context: ExceptionContext) -> NoReturn:
        found = context.original_exception
        code = getattr(found, "sqlstate", None) or getattr(found, "pgcode", None) or ""
        raise DatabaseSaysError(_without(str(found), secrets), code)

    try:
        with engine.connect() as connection:
            for statement in _session_settings(url, patience_seconds):
                connection.exec_driver_sql(statement)
            connection.commit()
            yield connection
    except DatabaseSaysError as error:
        # Without its cause, whose text is the driver's.
        raise DatabaseSaysError(str(error), error.code) from None
    finally:
        engine.dispose()


def url_of(url_variable: str) -> URL:
    """The URL that the variable has. Raises SourceError without showing it."""
    value = os.environ.get(url_variable, "")
    if not value:
        raise SourceError(
            f"The environment variable {url_variable} is not set: set it to the source's SQLAlchemy"
            " URL where Galena runs, and start Galena again."
        )
    try:
        return make_url(value)
    except ArgumentError:
        raise SourceError(
            f"The environment variable {url_variable} holds no URL; expected"
            " postgresql://user:password@host:5432/database or another SQLAlchemy URL."
        ) from None


def _connect_args(url: URL, patience_seconds: int) -> dict[str, Any]:
    match url.get_backend_name():
        case "postgresql":
            return {
                "connect_timeout": _CONNECT_SECONDS,
                "tcp_user_timeout": 1000 * patience_seconds,
                "application_name": "galena",
            }
        case "mysql" | "mariadb" if url.get_driver_name() == "pymysql":
            return {"connect_timeout": _CONNECT_SECONDS, "read_timeout": patience_seconds}
        case _:
            return {}


def _session_settings(url: URL, patience_seconds: int) -> tuple[str, ...]:
    match url.get_backend_name():
        case "postgresql":
            return (*_POSTGRESQL, f"SET statement_timeout = {1000 * patience_seconds}")
        case "mysql" | "mariadb":
            return ("SET SESSION TRANSACTION READ ONLY",)
        case _:
            return ()


def _secrets(url: URL) -> list[str]:
    """What must not be shown, longest first: the URL in its forms, and the password."""
    found = {url.render_as_string(hide_password=False)}
    passwords = [url.password, *(url.query.get(name) for name in ("password", "passwd"))]
    for password in passwords:
        if isinstance(password, str) and password:
            found |= {password, quote(password, safe=""), quote_plus(password)}
    return sorted(found, key=len, reverse=True)


def _without(message: str, secrets: list[str]) -> str:
    """The message's first line, without secrets; the other lines may hold rows."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "no reason given")
    for secret in secrets:
        line = line.replace(secret, "***")
    return f"The source's database says: {_ANY_URL.sub('***', line).rstrip('.')}."
