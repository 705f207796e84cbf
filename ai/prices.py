"""What tokens cost: by the configuration, or by the table that genai-prices ships. Nothing is
fetched. An unknown price is None and never zero."""

from datetime import datetime
from decimal import Decimal
from functools import lru_cache

import genai_prices
from genai_prices.types import ModelPrice

from ai.calls import Usage
from ai.configuration import Candidate

_MILLION = Decimal(1_000_000)


def price(candidate: Candidate, usage: Usage, *, at: datetime) -> Decimal | None:
    """US dollars that the usage costs at a time; None when nobody knows.

    A price of the configuration comes first; it knows no discount for cached input. The offline
    model is free. A compatible server is in no list, whatever its models are called: their names
    say nothing about who serves them.
    """
    if candidate.price_input_usd_per_million is not None:
        return _configured(candidate, usage)
    if candidate.provider == "offline":
        return Decimal(0)
    return _listed(candidate, usage, at)


def _configured(candidate: Candidate, usage: Usage) -> Decimal:
    of_input = candidate.price_input_usd_per_million or Decimal(0)
    of_output = candidate.price_output_usd_per_million or Decimal(0)
    return (usage.input_tokens * of_input + usage.output_tokens * of_output) / _MILLION


def _listed(candidate: Candidate, usage: Usage, at: datetime) -> Decimal | None:
    # Some prices change with the hour of the day; none within a minute.
    rates = _rates(candidate.provider, candidate.model, at.replace(second=0, microsecond=0))
    if rates is None:
        return None
    # A provider that miscounts is no reason to know nothing.
    cached = min(usage.cached_tokens, usage.input_tokens)
    flat = rates.input_mtok, rates.cache_read_mtok or rates.input_mtok, rates.output_mtok
    match flat:
        # What the library computes too, in 2 us instead of 200: each call is priced three times.
        case Decimal() as of_input, Decimal() as of_cached, Decimal() as of_output:
            fresh = usage.input_tokens - cached
            spent = fresh * of_input + cached * of_cached + usage.output_tokens * of_output
            return spent / _MILLION
        case _:
            return rates.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cache_read_tokens=cached,
                )
            )["total_price"]


@lru_cache(maxsize=1_024)
def _rates(provider: str, model: str, at: datetime) -> ModelPrice | None:
    """The model's prices at the time; None for one that is not listed, or not sold by the token."""
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1, output_tokens=1),
            model.removeprefix("models/"),
            provider_id=provider,
            genai_request_timestamp=at,
        ).model_price
    except (LookupError, ValueError):
        return None
    return None if found.input_mtok is None or found.output_mtok is None else found
