"""What must not happen: an answer that goes to another tenant, and a budget that is overspent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ai.errors import BudgetExceededError
from ai.fake_provider.script import Script
from benchmarks.llm_installation import Place, add_tenant, now, opened, provider
from benchmarks.llm_ways import OUTPUT_TOKENS, bare, call, chain, values
from benchmarks.llm_workload import said
from benchmarks.reporting import show, told
from warehouse import llm_budgets
from warehouse.database import Database

if TYPE_CHECKING:
    from ai.gateway import Gateway, Values

_RICH = Decimal(1_000_000)
_LEFT, _RIGHT = "left", "right"
_FEATURES = {"default": {"output_tokens": OUTPUT_TOKENS, "similarity": 0.7, "seconds": 30}}
_SCRIPT = Script(answer_tokens=150, keep=0)
_SLOW = _SCRIPT.model_copy(update={"latency": 0.5})
# The budget is for one of so many calls.
_SHARE = 5


@dataclass(frozen=True)
class Spent:
    """share: of the limit. answered: of the calls."""

    share: float
    answered: int


def measure(place: Place, quick: bool) -> dict[str, float]:
    prompts, calls = (20, 500) if quick else (100, 500)
    with told("the same prompts by two tenants"):
        crossed = _crossed(place, prompts)
        plain_crossed = _plain_crossed(prompts)
    with told(f"{calls} calls at once against a budget for {calls // _SHARE}"):
        spent, plain = _spent(place, calls), _plain_spent(calls)
    show(
        f"{prompts} prompts by two tenants: answers that were made for the other",
        ("", *crossed),
        [
            ("Galena", *map(str, crossed.values())),
            ("LangChain with its in-memory cache", "", str(plain_crossed), "", ""),
        ],
    )
    show(
        f"{calls} calls at once against a budget for {calls // _SHARE}",
        ("", "spent of the limit", "answered"),
        [
            ("Galena", f"{spent.share:.1%}", str(spent.answered)),
            ("looked at before, added to after", f"{plain.share:.1%}", str(plain.answered)),
        ],
    )
    return {
        "crossed_answers": sum(crossed.values()),
        "plain_crossed_answers": plain_crossed,
        "budget_spent_share": spent.share,
        "budget_answered": spent.answered,
        "plain_budget_spent_share": plain.share,
    }


def _crossed(place: Place, prompts: int) -> dict[str, int]:
    """By tier: how many answers a tenant got to what it had never asked, without a request."""
    for tenant_id in (_LEFT, _RIGHT):
        add_tenant(place, tenant_id, _RICH)
    with ExitStack() as stack:
        url = stack.enter_context(provider(_SCRIPT))
        one, other = (stack.enter_context(opened(place, url, _FEATURES)) for _ in range(2))
        return asyncio.run(_each_tier(one, other, prompts))


async def _each_tier(one: "Gateway", other: "Gateway", prompts: int) -> dict[str, int]:
    """The left tenant asks three times before the right one does; in the second process there is
    only what is stored."""

    async def crossed(
        gateway: "Gateway", tenant_id: str, begin: int, *, hurried: bool = False
    ) -> int:
        asked = [_worded(number, hurried=hurried) for number in range(begin, begin + prompts)]
        given = await asyncio.gather(*(gateway.ask(call(tenant_id), with_) for with_ in asked))
        return sum(answer.tier is not None for answer in given)

    at_once = await asyncio.gather(crossed(one, _LEFT, 0), crossed(one, _RIGHT, 0))
    found = {"at once": sum(at_once)}
    for tier, gateway, hurried in (
        ("memory", one, False),
        ("stored", other, False),
        ("similar", other, True),
    ):
        begin = 1_000 * (1 + len(found))
        await crossed(one, _LEFT, begin)
        served = await crossed(gateway, _LEFT, begin, hurried=hurried)
        assert served, f"nothing was served as {tier}, so that nothing could cross"
        found[tier] = await crossed(gateway, _RIGHT, begin, hurried=hurried)
    return found


def _worded(number: int, *, hurried: bool) -> "Values":
    found = values(number)
    question = str(found["question"])
    return {**found, "question": said(question)[-1] if hurried else question}


def _plain_crossed(prompts: int) -> int:
    """Two tenants ask a chain in turn, with the cache that LangChain has for it."""
    from langchain_core.caches import InMemoryCache
    from langchain_core.globals import set_llm_cache

    class Counted(InMemoryCache):
        hits = 0

        def lookup(self, prompt: str, llm_string: str) -> Any:
            found = super().lookup(prompt, llm_string)
            self.hits += found is not None
            return found

    kept = Counted()

    async def both(ask: Callable[[int], Awaitable[str]]) -> int:
        for _tenant in (_LEFT, _RIGHT):
            await asyncio.gather(*(ask(number) for number in range(prompts)))
        return kept.hits

    set_llm_cache(kept)
    try:
        with provider(_SCRIPT) as url:
            return asyncio.run(both(chain(url)))
    finally:
        set_llm_cache(None)


def _spent(place: Place, calls: int) -> Spent:
    """Through the whole path, with a limit of a fifth of what the calls cost."""

    async def ask(number: int) -> bool:
        try:
            await gateway.ask(call("thrifty"), values(number))
        except BudgetExceededError:
            return False
        return True

    async def together() -> int:
        return sum(await asyncio.gather(*(ask(number) for number in range(calls))))

    add_tenant(place, "rich", _RICH)
    with provider(_SLOW) as url, opened(place, url, _FEATURES) as gateway:
        asyncio.run(gateway.ask(call("rich"), values(0)))
        limit = _taken(place, "rich") * calls / _SHARE
        add_tenant(place, "thrifty", limit)
        answered = asyncio.run(together())
    return Spent(float(_taken(place, "thrifty") / limit), answered)


def _plain_spent(calls: int) -> Spent:
    """What stands in many a handler: what is spent is looked at before a call, and added to after
    it. Counted in calls, which cost the same."""
    limit, taken = calls // _SHARE, 0

    async def together() -> None:
        await asyncio.gather(*(ask(number) for number in range(calls)))

    with provider(_SLOW) as url:
        model = bare(url)

        async def ask(number: int) -> None:
            nonlocal taken
            if taken < limit:
                await model(number)
                taken += 1

        asyncio.run(together())
    return Spent(taken / limit, taken)


def _taken(place: Place, tenant_id: str) -> Decimal:
    database = Database(place.database_url)
    with database.tenant(tenant_id) as connection:
        (spent,) = llm_budgets.find_all(connection, tenant_id, now=now())
    database.close()
    return spent.usd
