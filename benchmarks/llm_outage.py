"""One provider of two fails under load, in three ways: what it costs each request, ours beside
LangChain's with_fallbacks; and when the breaker opens and closes.

Both ways run at the same time against the same two servers on loopback, each with its own requests,
which begin when they are due and wait for no others. A request has 20 s. Of with_fallbacks the
kinder setting is taken: no retries of its own, and 10 s for the provider that fails.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import numpy as np
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from ai.calls import Attempt, Usage
from ai.candidates import Pool
from ai.configuration import Configuration
from ai.fake_provider.running import listen, server
from ai.fake_provider.script import Fault, Script
from ai.routed_model import RoutedChatModel
from benchmarks.reporting import arguments, report, told

A_SECOND = 20
BUDGET_SECONDS = 20.0
SCRIPT = Script(answers="echo", latency=0.2, spread=0.1, keep=0)
FAULTS = {
    "500": Fault(kind="500"),
    "hangs": Fault(kind="hang"),
    "429, Retry-After 2 s": Fault(kind="429", retry_after=2),
}
QUESTION = "What does the customer want, and by when?"
WAYS = ("ours", "with_fallbacks")


@dataclass(frozen=True)
class Phases:
    """Seconds of each."""

    before: float
    outage: float
    after: float


FULL, QUICK = Phases(15, 60, 15), Phases(4, 10, 8)


class Counting:
    """A meter that admits everything and counts what was not settled."""

    def __init__(self) -> None:
        self.open = 0

    async def admit(self, candidate: str, provider: str, model: str, most: Usage) -> str:  # noqa: ARG002
        self.open += 1
        return ""

    async def settle(self, reservation_id: str, attempt: Attempt) -> None:  # noqa: ARG002
        self.open -= 1


@dataclass
class Seen:
    """Of one way: (when it began, seconds it took) of each request, from the load's begin; how
    many had no answer."""

    took: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0


# When the breaker of the failing provider changed, from the load's begin, and to what.
Changes = list[tuple[float, str]]


@contextmanager
def provider() -> Iterator[str]:
    with listen(0) as taken:
        found = server(SCRIPT, lambda: datetime.now(UTC))
        thread = threading.Thread(target=found.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            found.should_exit = True
            thread.join()


def plain(first: str, second: str) -> Runnable[Any, Any]:
    """A chain as LangChain's documentation has it."""

    def model(url: str) -> ChatOpenAI:
        return ChatOpenAI(
            model="m",
            api_key=SecretStr("none"),
            base_url=f"{url}/v1",
            timeout=BUDGET_SECONDS / 2,
            max_retries=0,
        )

    return model(first).with_fallbacks([model(second)])


def configured(first: str, second: str) -> Configuration:
    candidates = {
        name: {"provider": "compatible", "model": "m", "base_url": f"{url}/v1"}
        for name, url in (("a", first), ("b", second))
    }
    feature = {"candidates": ["a", "b"], "seconds": BUDGET_SECONDS}
    return Configuration.model_validate(
        {"candidates": candidates, "features": {"default": feature}}
    )


async def load(
    ask: Callable[[], Awaitable[object]], seconds: float, seen: Seen, began: float
) -> None:
    """Ask as many times a second as stated, whether or not the last answer has come."""

    async def one(due: float) -> None:
        try:
            async with asyncio.timeout(BUDGET_SECONDS):
                await ask()
        except Exception:
            seen.failed += 1
        seen.took.append((due, time.perf_counter() - began - due))

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * A_SECOND)):
            due = number / A_SECOND
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            tasks.create_task(one(due))


async def outage(kind: str, phases: Phases) -> tuple[dict[str, Seen], Changes, int]:
    """Both ways through one outage; and how many attempts were never settled."""
    with provider() as first, provider() as second:
        configuration = configured(first, second)
        pool = Pool(configuration, {}, lambda: datetime.now(UTC))
        meter, chain = Counting(), plain(first, second)

        async def ours() -> object:
            model = RoutedChatModel(
                tenant_id="acme",
                candidates=pool,
                feature=configuration.feature("benchmark"),
                feature_name="benchmark",
                meter=meter,
                rng=random.Random(),
            )
            return await model.ainvoke(QUESTION)

        await asyncio.gather(ours(), chain.ainvoke(QUESTION))
        seen = {way: Seen() for way in WAYS}
        changes: Changes = []
        began = time.perf_counter()
        whole = phases.before + phases.outage + phases.after
        fault = FAULTS[kind].model_copy(update={"after": phases.before, "seconds": phases.outage})
        async with httpx.AsyncClient() as client:
            await client.post(f"{first}/admin/faults", json=[fault.model_dump()])
        watch = asyncio.create_task(watched(pool, changes, began))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load(ours, whole, seen["ours"], began))
            ask = partial(chain.ainvoke, QUESTION)
            tasks.create_task(load(ask, whole, seen["with_fallbacks"], began))
        watch.cancel()
        return seen, changes, meter.open


async def watched(pool: Pool, changes: Changes, began: float) -> None:
    last = "closed"
    while True:
        state = pool.report()["a"].breaker
        if state != last:
            changes.append((time.perf_counter() - began, state))
            last = state
        await asyncio.sleep(0.01)


def rows_of(
    kind: str, phases: Phases, seen: dict[str, Seen], changes: Changes
) -> Iterator[tuple[str, ...]]:
    opened = [at for at, state in changes if state == "open"]
    closed = [at for at, state in changes if state == "closed"]
    end = phases.before + phases.outage
    for way, found in seen.items():
        added = in_outage(found.took, phases)
        ours = way == "ours"
        yield (
            f"{kind}: {way}",
            f"{len(found.took):,}",
            f"{found.failed:,}",
            *(f"{value:+.2f} s" for value in (added[0], added[1], added[2])),
            f"{opened[0] - phases.before:.2f} s" if ours and opened else "",
            f"{closed[-1] - end:+.2f} s" if ours and closed else "",
        )


def in_outage(took: Sequence[tuple[float, float]], phases: Phases) -> tuple[float, float, float]:
    """Median, p95 and highest of what requests of the outage took beyond the median before it."""
    due, seconds = np.array(took).T
    usual = np.median(seconds[due < phases.before])
    during = (due >= phases.before) & (due < phases.before + phases.outage)
    added = seconds[during] - usual
    return float(np.median(added)), float(np.quantile(added, 0.95)), float(added.max())


def main() -> None:
    given = arguments(__doc__)
    phases = QUICK if given.quick else FULL
    rows: list[tuple[str, ...]] = []
    figures: dict[str, float] = {}
    for kind in FAULTS:
        with told(f"{kind} for {phases.outage:g} s, {A_SECOND} requests a second each way"):
            seen, changes, unsettled = asyncio.run(outage(kind, phases))
        rows.extend(rows_of(kind, phases, seen, changes))
        word = kind.split(",")[0]
        figures[f"outage_{word}_failed"] = seen["ours"].failed
        figures[f"outage_{word}_unsettled"] = unsettled
        for way, name in (("ours", ""), ("with_fallbacks", "_plain")):
            median, p95, most = in_outage(seen[way].took, phases)
            figures[f"outage_{word}_median_s{name}"] = median
            figures[f"outage_{word}_p95_s{name}"] = p95
            figures[f"outage_{word}_max_s{name}"] = most
    report(
        f"One provider of two fails for {phases.outage:g} s: added to a request of the outage",
        ("", "requests", "failed", "median", "p95", "most", "opens after", "closes after its end"),
        rows,
        figures,
        given,
    )


if __name__ == "__main__":
    main()
