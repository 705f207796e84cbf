"""What tokens cost: as listed, as configured, or unknown; never zero for what nobody knows."""

import socket
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from pydantic import ValidationError

from ai.calls import NOTHING, Usage
from ai.configuration import Candidate
from ai.prices import price

AT = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
USAGE = Usage(input_tokens=1_000, output_tokens=200, cached_tokens=400)


def _candidate(provider: Any, model: str, **more: Any) -> Candidate:
    return Candidate(provider=provider, model=model, key_variable="A_KEY", **more)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
@pytest.mark.parametrize(
    "usage", [USAGE, Usage(1_000, 200), Usage(900_000, 20_000, 300_000), Usage(1, 0, 1)]
)
def test_listed_prices_are_those_of_the_library(provider: str, usage: Usage) -> None:
    """Also where a price changes with the size of the input."""
    found = next(one for one in get_snapshot().providers if one.id == provider)
    known = 0
    for model in found.models:
        ours = price(_candidate(provider, model.id), usage, at=AT)
        if ours is None:
            continue
        known += 1
        assert (
            ours
            == genai_prices.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cache_read_tokens=usage.cached_tokens,
                ),
                model.id,
                provider_id=provider,
                genai_request_timestamp=AT,
            ).total_price
        )
    assert known > len(found.models) / 2


def test_a_price_is_known_by_hand() -> None:
    """gpt-4o-mini since July 2024: 0.15, cached 0.075, out 0.60 US dollars for a million."""
    found = price(_candidate("openai", "gpt-4o-mini"), USAGE, at=AT)
    assert found == (600 * Decimal("0.15") + 400 * Decimal("0.075") + 200 * Decimal("0.6")) / 10**6


def test_a_price_is_that_of_its_time() -> None:
    """Where the list knows of a change, the usage before it costs what it cost then."""
    model = _candidate("openai", "o3")
    before = price(model, USAGE, at=datetime(2025, 6, 1, tzinfo=UTC))
    after = price(model, USAGE, at=datetime(2025, 7, 1, tzinfo=UTC))
    assert before is not None
    assert after is not None
    assert before > after


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-99"), ("anthropic", "gpt-5-mini"), ("google", "gemma-3"), ("openai", "")],
)
def test_what_nobody_knows_is_unknown_and_not_zero(provider: str, model: str) -> None:
    if not model:
        model = "\N{SNOWMAN}" * 500
    for usage in (USAGE, NOTHING):
        assert price(_candidate(provider, model), usage, at=AT) is None


def test_more_cached_than_sent_is_counted_as_all_cached() -> None:
    model = _candidate("openai", "gpt-4o-mini")
    assert price(model, Usage(10, 0, 999), at=AT) == price(model, Usage(10, 0, 10), at=AT)


def test_a_compatible_server_costs_what_is_configured_or_nobody_knows() -> None:
    """Also when its model has the name of one that is listed."""
    place = {"provider": "compatible", "model": "gpt-4o-mini", "base_url": "http://localhost:1"}
    assert price(Candidate.model_validate(place), USAGE, at=AT) is None
    prices = {"price_input_usd_per_million": "0.5", "price_output_usd_per_million": 2}
    configured = Candidate.model_validate(place | prices)
    assert price(configured, USAGE, at=AT) == Decimal("0.0009")


def test_a_configured_price_comes_before_the_listed() -> None:
    model = _candidate(
        "openai", "gpt-4o-mini", price_input_usd_per_million=0, price_output_usd_per_million=0
    )
    assert price(model, USAGE, at=AT) == 0


def test_half_a_price_is_refused() -> None:
    with pytest.raises(ValidationError, match="price_output_usd_per_million need each other"):
        _candidate("openai", "gpt-4o-mini", price_input_usd_per_million=1)


def test_the_offline_model_is_free() -> None:
    model = Candidate(provider="offline", model="extractive-1")
    assert price(model, USAGE, at=AT) == 0


def test_no_price_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert price(_candidate("google", "gemini-2.5-pro"), USAGE, at=AT) is not None
    assert price(_candidate("google", "gemini-99"), USAGE, at=AT) is None
