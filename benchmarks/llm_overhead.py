"""What a call takes beside the provider's own time, how many a process sustains, and 1,000 at once.

Each way is asked by the same measurement, in a process of its own; the provider answers after a
fixed time. At 200 at a time it takes 8 s, so that 25 calls a second are asked for: with less, the
two cores that a process, the provider and PostgreSQL share would have more than they can do, and
what is measured would be their queue.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from ai.fake_provider.script import Script
from benchmarks.bulk_scoring import peak_mb
from benchmarks.llm_installation import Place, apart, opened, provider
from benchmarks.llm_ways import OUTPUT_TOKENS, Way, bare, chain, galena
from benchmarks.reporting import show, told

NAMES = ("openai client", "LangChain with_fallbacks", "Galena")
_CONCURRENT = 200
# As the service levels have it: a provider that answers in 1.5 s, and 20 calls a second.
_AS_SERVED, _SERVED_IN = 30, 1.5
_FEATURES = {
    "default": {"output_tokens": OUTPUT_TOKENS, "similarity": 0.9, "seconds": 60},
}
# So that an answer is as long as a summary: 150 tokens.
_SCRIPT = Script(answer_tokens=150, keep=0)
_SERVED = _SCRIPT.model_copy(update={"latency": _SERVED_IN})
# With more at a time, a process answers no more of them.
_FLAT_OUT = 50


@dataclass(frozen=True)
class Timed:
    """Wall and CPU seconds of a measurement, and the seconds that each call took."""

    seconds: float
    cpu: float
    each: Sequence[float]

    def ms(self, quantile: float, less: float = 0.0) -> float:
        return float(np.quantile(self.each, quantile) - less) * 1000

    @property
    def cpu_ms(self) -> float:
        return self.cpu * 1000 / len(self.each)


@dataclass(frozen=True)
class AtOnce:
    """seconds: until the last of the calls was answered. peak_mb: of their process."""

    seconds: float
    peak_mb: float
    idle_mb: float


@dataclass(frozen=True)
class Sizes:
    """Calls one after another, 200 at a time, as the service levels have it, all at once.

    long: seconds in which the provider answers 200 at a time.
    """

    alone: int
    together: int
    served: int
    at_once: int
    long: float


def measure(place: Place, quick: bool) -> dict[str, float]:
    sizes = Sizes(20, 200, 30, 100, 1.0) if quick else Sizes(200, 400, 150, 1_000, 8.0)
    found = {}
    for name in NAMES:
        with told(f"{name}: alone, {_CONCURRENT} at a time, flat out"):
            found[name] = _found(place, name, sizes)
    ours, plain, client = found["Galena"], found["LangChain with_fallbacks"], found["openai client"]
    with told(f"{sizes.at_once:,} calls at once, each way in a process of its own"):
        at_once = {name: _at_once(place, name, sizes) for name in NAMES}
    show(
        f"Beside the provider's own time, ms; at {_CONCURRENT} at a time it is {sizes.long} s",
        ("", "alone p50", "p99", f"{_CONCURRENT}: p50", "p99", "CPU ms a call", "flat out calls/s"),
        [(name, *_cells(found[name], sizes.long)) for name in NAMES],
    )
    show(
        f"{_AS_SERVED} at a time, answered in {_SERVED_IN} s: seconds",
        ("", "p50", "p95", "p99"),
        [
            (name, *(f"{one.served.ms(share) / 1000:.2f}" for share in (0.5, 0.95, 0.99)))
            for name, one in found.items()
        ],
    )
    show(
        f"{sizes.at_once:,} calls at once, answered in {_SERVED_IN} s",
        ("", "s", "peak MB", "MB before"),
        [
            (name, f"{one.seconds:.2f}", f"{one.peak_mb:,.0f}", f"{one.idle_mb:,.0f}")
            for name, one in at_once.items()
        ],
    )
    return {
        "overhead_ms_p50": ours.alone.ms(0.5) - client.alone.ms(0.5),
        "overhead_ms_p99": ours.alone.ms(0.99) - client.alone.ms(0.99),
        "overhead_ms_p50_200": ours.together.ms(0.5) - client.together.ms(0.5),
        "overhead_ms_p99_200": ours.together.ms(0.99) - client.together.ms(0.99),
        "plain_overhead_ms_p50": plain.alone.ms(0.5) - client.alone.ms(0.5),
        "plain_overhead_ms_p99_200": plain.together.ms(0.99) - client.together.ms(0.99),
        "p95_s": ours.served.ms(0.95) / 1000,
        "p99_s": ours.served.ms(0.99) / 1000,
        "cpu_ms_per_call": ours.flat_out.cpu_ms,
        "sustained_calls_per_s": len(ours.flat_out.each) / ours.flat_out.seconds,
        "plain_sustained_calls_per_s": len(plain.flat_out.each) / plain.flat_out.seconds,
        "concurrent_1000_s": at_once["Galena"].seconds,
        "plain_concurrent_1000_s": at_once["LangChain with_fallbacks"].seconds,
        "peak_mb": at_once["Galena"].peak_mb,
        "plain_peak_mb": at_once["LangChain with_fallbacks"].peak_mb,
    }


@dataclass(frozen=True)
class _Found:
    alone: Timed
    together: Timed
    served: Timed
    flat_out: Timed


def _cells(found: _Found, long: float) -> tuple[str, ...]:
    return (
        f"{found.alone.ms(0.5):.1f}",
        f"{found.alone.ms(0.99):.1f}",
        f"{found.together.ms(0.5, long):.1f}",
        f"{found.together.ms(0.99, long):.1f}",
        f"{found.flat_out.cpu_ms:.2f}",
        f"{len(found.flat_out.each) / found.flat_out.seconds:,.0f}",
    )


def _found(place: Place, name: str, sizes: Sizes) -> _Found:
    slow = _SCRIPT.model_copy(update={"latency": sizes.long})
    with ExitStack() as stack:
        urls = [stack.enter_context(provider(one)) for one in (_SCRIPT, slow, _SERVED)]
        return apart(_in_a_process, place, name, urls, sizes)


def _in_a_process(place: Place, name: str, urls: Sequence[str], sizes: Sizes) -> _Found:
    async def all_of_it(quick: Way, slow: Way, served: Way) -> _Found:
        # What a process pays once: imports, the guards' tables, the first connections.
        await asyncio.gather(quick(1), slow(2), served(3))
        return _Found(
            alone=await _timed(quick, range(1_000, 1_000 + sizes.alone), 1, 0),
            together=await _timed(
                slow, range(10_000, 10_000 + sizes.together), _CONCURRENT, sizes.long
            ),
            served=await _timed(
                served, range(20_000, 20_000 + sizes.served), _AS_SERVED, _SERVED_IN
            ),
            flat_out=await _timed(quick, range(30_000, 30_000 + sizes.alone), _FLAT_OUT, 0),
        )

    with ExitStack() as stack:
        ways = [stack.enter_context(_way(place, url, name)) for url in urls]
        return asyncio.run(all_of_it(*ways))


@contextmanager
def _way(place: Place, url: str, name: str) -> Iterator[Way]:
    match name:
        case "openai client":
            yield bare(url)
        case "LangChain with_fallbacks":
            yield chain(url)
        case _:
            with opened(place, url, _FEATURES) as gateway:
                yield galena(gateway)


async def _timed(ask: Way, numbers: range, concurrent: int, spread: float) -> Timed:
    """Ask for each number, so many at a time. They begin spread over so many seconds, since calls
    that begin together would wait for one another and for nothing else."""
    left, each = iter(numbers), []

    async def work(delay: float) -> None:
        await asyncio.sleep(delay)
        for number in left:
            began = time.perf_counter()
            assert await ask(number)
            each.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work(spread * n / concurrent) for n in range(concurrent)))
    return Timed(time.perf_counter() - began, time.process_time() - cpu, each)


def _at_once(place: Place, name: str, sizes: Sizes) -> AtOnce:
    with provider(_SERVED) as url:
        return apart(_all_at_once, place, url, name, sizes.at_once)


def _all_at_once(place: Place, url: str, name: str, calls: int) -> AtOnce:
    async def together() -> AtOnce:
        # What a process pays once: imports, the guards' tables, the first connection.
        await ask(39_999)
        idle = peak_mb()
        timed = await _timed(ask, range(40_000, 40_000 + calls), calls, 0)
        assert len(timed.each) == calls
        return AtOnce(timed.seconds, peak_mb(), idle)

    with _way(place, url, name) as ask:
        return asyncio.run(together())
