"""What the benchmark llm runs on: PostgreSQL, a fake provider as a process, and gateways."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from ai.fake_provider import running
from ai.fake_provider.script import Script
from warehouse import language_models, llm_budgets, tenants
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres
from warehouse.llm_budgets import Budget
from warehouse.migrate import migrate

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ai.gateway import Gateway

T = TypeVar("T")

SPAWN = multiprocessing.get_context("spawn")
MODEL = "gpt-5-mini"
# 32 bytes that protect nothing, and the key of a provider that asks for none.
_SECRETS = {
    "GALENA_MASTER_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "FAKE_KEY": "a key of nobody's",
}


@dataclass(frozen=True)
class Place:
    """Where processes of the benchmark find each other. folder: for configurations."""

    database_url: str
    folder: Path


@contextmanager
def installed() -> Iterator[Place]:
    """A PostgreSQL with the schema in it; nothing is left of it."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            migrate(server.urls.owner)
            yield Place(server.urls.app, Path(folder))
        finally:
            server.stop()


def apart(function: Callable[..., T], *given: object) -> T:
    """What the function returns in a process of its own, which is gone then, or at Ctrl-C.

    No multiprocessing.Pool: at Ctrl-C that waits for workers which it starts anew.
    """
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_send, args=(sender, function, given), daemon=True)
    process.start()
    sender.close()
    try:
        # EOFError: it ended without a result, and has printed why.
        found: T = receiver.recv()
        process.join()
        return found
    finally:
        process.terminate()
        process.join()


def _send(sender: "Connection", function: Callable[..., object], given: tuple[object, ...]) -> None:
    sender.send(function(*given))


@contextmanager
def provider(script: Script) -> Iterator[str]:
    """The URL of a fake provider in a process of its own."""
    with running.listen(0) as taken:
        process = SPAWN.Process(target=_serve, args=(taken, script), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()


def _serve(taken: socket, script: Script) -> None:
    running.server(script, now).run(sockets=[taken])


@contextmanager
def opened(
    place: Place,
    url: str,
    features: Mapping[str, Mapping[str, Any]],
    clock: Callable[[], datetime] | None = None,
) -> Iterator["Gateway"]:
    """The gateway of a process, as the product makes it, for a model of OpenAI's at the URL.

    features: as the configuration has them, without candidates. clock: default the real one.
    """
    candidate = {
        "provider": "openai",
        "model": MODEL,
        "key_variable": "FAKE_KEY",
        "base_url": f"{url}/v1",
    }
    configured = {name: {"candidates": ["main"], **more} for name, more in features.items()}
    written = yaml.safe_dump({"candidates": {"main": candidate}, "features": configured})
    database = Database(place.database_url)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=place.folder) as file:
        file.write(written)
        file.flush()
        environment = {**_SECRETS, "GALENA_LLM_CONFIG": file.name}
        gateway = language_models.gateway(database, environment, clock or now)
    try:
        yield gateway
    finally:
        gateway.close()
        database.close()


def add_tenant(place: Place, tenant_id: str, usd: Decimal) -> None:
    """A tenant with a budget for each month, of all features."""
    database = Database(place.database_url)
    tenants.add(database, tenant_id)
    budget = Budget(feature="", usd=usd, tokens=None, period="month", at_limit="refuse")
    with database.tenant(tenant_id) as connection:
        llm_budgets.put(connection, tenant_id, budget, now=now(), actor="benchmark")
    database.close()


def now() -> datetime:
    return datetime.now(UTC)
