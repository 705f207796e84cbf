"""Whether the configured models answer: one small question to each, with nobody's data in it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ai.configuration import Candidate, Configuration
from ai.failures import classify
from ai.providers.building import build

_QUESTION = "Answer with the word ready."
_OUTPUT_TOKENS = 256


@dataclass(frozen=True)
class Checked:
    """One candidate. seconds: until it answered. error: why it did not, "" when it did."""

    name: str
    candidate: Candidate
    seconds: float
    error: str


async def check(
    found: Configuration, environment: Mapping[str, str], seconds: float
) -> list[Checked]:
    """Ask all candidates at once; one that has not answered after so many seconds has failed."""
    one_by_one = (
        _check(name, candidate, environment, seconds)
        for name, candidate in found.candidates.items()
    )
    return await asyncio.gather(*one_by_one)


async def _check(
    name: str, candidate: Candidate, environment: Mapping[str, str], seconds: float
) -> Checked:
    model = await asyncio.to_thread(
        build, candidate, environment, output_tokens=_OUTPUT_TOKENS, seconds=seconds
    )
    began, error = time.monotonic(), ""
    try:
        async with asyncio.timeout(seconds):
            await model.ainvoke(_QUESTION)
    except Exception as raised:
        error = classify(raised).message
    return Checked(name, candidate, time.monotonic() - began, error)
