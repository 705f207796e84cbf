"""A gateway for tests: the real path, with a fake provider's servers behind it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from random import Random
from typing import Any

from ai.candidates import Pool
from ai.configuration import Configuration
from ai.gateway import Gateway
from ai.guards.injection import Detector
from warehouse import master_key
from warehouse.alerts import StoredAlerts
from warehouse.customer_names import CustomerNames
from warehouse.database import Database
from warehouse.llm_answers import StoredAnswers
from warehouse.llm_ledger import StoredLedger
from warehouse.tenant_keys import TenantKeys

# 32 bytes that protect nothing.
MASTER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ENVIRONMENT = {"GALENA_MASTER_KEY": MASTER_KEY, "FAKE_KEY": "a key of nobody's"}


class Clock:
    """The real time and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def candidate(url: str, **more: Any) -> dict[str, Any]:
    """A priced model of OpenAI's at the fake provider."""
    return {
        "provider": "openai",
        "model": "gpt-5-mini",
        "key_variable": "FAKE_KEY",
        "base_url": f"{url}/v1",
        **more,
    }


def configuration(urls: Mapping[str, str], **feature: Any) -> Configuration:
    """A candidate at each URL, by name; in this order they serve everything."""
    return Configuration.model_validate(
        {
            "candidates": {name: candidate(url) for name, url in urls.items()},
            "features": {"default": {"candidates": tuple(urls), "seconds": 10, **feature}},
        }
    )


@contextmanager
def opened(
    database: Database, found: Configuration, clock: Clock | None = None
) -> Iterator[Gateway]:
    """The gateway of a process."""
    clock = clock or Clock()
    gateway = Gateway(
        found,
        Pool(found, ENVIRONMENT, clock, StoredAlerts(database)),
        answers=StoredAnswers(
            database, TenantKeys(database, partial(master_key.read, ENVIRONMENT))
        ),
        ledger=StoredLedger(database),
        names=CustomerNames(database),
        detector=_detector(),
        clock=clock,
        rng=Random(1),
    )
    try:
        yield gateway
    finally:
        gateway.close()


@cache
def _detector() -> Detector:
    return Detector.load()
