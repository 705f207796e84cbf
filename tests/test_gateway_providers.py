"""The path of a call over each provider's own library: each has its own way to say how an answer
ended."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ai.calls import Call
from ai.configuration import Configuration, ProviderName
from ai.errors import NoAnswerError
from ai.fake_provider.script import Fault, Script
from ai.gateway import Gateway, Values
from ai.giving import Given
from ai.prompt import Source
from tests.gateways import candidate, opened
from tests.providers import requests_to, running_provider, set_faults
from warehouse import tenants
from warehouse.database import Database

ACME = "acme"
SAID = "It says 90 EUR instead of 80, which we agreed on [S1]."
MODELS: dict[ProviderName, str] = {
    "openai": "gpt-5-mini",
    "anthropic": "claude-sonnet-4-6",
    "google": "gemini-2.5-flash",
}


@pytest.fixture
def database(database: Database) -> Database:
    tenants.add(database, ACME)
    return database


@pytest.fixture
def url() -> Iterator[str]:
    with running_provider(Script(canned={"4711": SAID})) as found:
        yield found


@pytest.fixture(params=MODELS)
def found(request: pytest.FixtureRequest, url: str) -> Configuration:
    return _served_by(request.param, url)


def _served_by(provider: ProviderName, url: str) -> Configuration:
    """One candidate of the provider's serves everything."""
    base_url = f"{url}/v1" if provider == "openai" else url
    one = candidate(url, provider=provider, model=MODELS[provider], base_url=base_url)
    return Configuration.model_validate(
        {
            "candidates": {"main": one},
            "features": {"default": {"candidates": ("main",), "seconds": 10}},
        }
    )


def _asked(question: str = "What is wrong with invoice 4711?") -> tuple[Call, Values]:
    passages = [Source("S1", "The invoice says 90 EUR, we agreed on 80.")]
    values: Values = {"language": "English", "question": question, "passages": passages}
    return Call(ACME, "answers", "answer"), values


def _ask(gateway: Gateway, *more: str) -> Given:
    return asyncio.run(gateway.ask(*_asked(*more)))


def _stream(gateway: Gateway) -> str:
    async def text() -> str:
        pieces = [piece async for piece in gateway.stream(*_asked())]
        return "".join(piece for piece in pieces if isinstance(piece, str))

    return asyncio.run(text())


def test_an_answer_is_made_once_and_served_again(
    database: Database, url: str, found: Configuration
) -> None:
    with opened(database, found) as gateway:
        made, again = _ask(gateway), _ask(gateway)
    assert made.text == again.text == SAID
    assert (made.tier, again.tier) == (None, "memory")
    assert made.answer.usage.output_tokens > 0
    assert len(requests_to(url)) == 1


def test_so_is_a_streamed_one(database: Database, url: str, found: Configuration) -> None:
    with opened(database, found) as gateway:
        assert _stream(gateway) == SAID
        again = _ask(gateway)
        assert _stream(gateway) == SAID
    assert (again.text, again.tier) == (SAID, "memory")
    assert again.answer.usage.output_tokens > 0
    assert len(requests_to(url)) == 1


@pytest.mark.parametrize("way", [_ask, _stream])
def test_what_stops_at_the_limit_is_not_kept(
    database: Database, url: str, found: Configuration, way: Any
) -> None:
    set_faults(url, Fault(kind="length", times=1))
    with opened(database, found) as gateway:
        cut = way(gateway)
        whole = _ask(gateway)
    shown = cut if isinstance(cut, str) else cut.text
    assert shown != SAID
    assert (whole.text, whole.tier) == (SAID, None)


@pytest.mark.parametrize("way", [_ask, _stream])
def test_what_the_provider_withholds_is_no_answer(
    database: Database, url: str, found: Configuration, way: Any
) -> None:
    set_faults(url, Fault(kind="filtered", times=1))
    with opened(database, found) as gateway:
        with pytest.raises(NoAnswerError, match="content filter"):
            way(gateway)
        assert len(requests_to(url)) == 1
        assert _ask(gateway).tier is None


@pytest.mark.parametrize("provider", MODELS)
def test_personal_data_stays_here_and_is_put_back(
    database: Database, provider: ProviderName
) -> None:
    with (
        running_provider(Script(answers="echo")) as url,
        opened(database, _served_by(provider, url)) as gateway,
    ):
        given = _ask(gateway, "Who is anna.kowalska@example.com?")
        sent = json.dumps(requests_to(url))
    assert "anna.kowalska@example.com" in given.text
    assert "anna.kowalska" not in sent
