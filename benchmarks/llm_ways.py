"""The ways in which the benchmark llm asks: the provider's own client, LangChain, and Galena."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ai import prompt
from ai.calls import Call
from ai.prompt import Kind, Source
from benchmarks.llm_installation import MODEL

if TYPE_CHECKING:
    from ai.gateway import Gateway, Values

Way = Callable[[int], Awaitable[str]]
"""Asks for the answer to the prompt of this number; no two numbers have the same prompt."""

OUTPUT_TOKENS = 512
TENANTS = ("acme", "brio", "cielo", "fjord")
_KEY = "a key of nobody's"
# By the clients' own default 1,000 connections have to be made within 5 s.
_TIMEOUT = 60.0

_MAIL = """\
Dear team,

invoice {number} of order A-{order} is wrong: it says 90 EUR, we agreed on 80. Please send a new
one to billing.{number}@example.com, or call me on +49 30 901{tail}. The delivery of last week came
two days late, and one of the {pieces} boxes was open. We like the product and would like to go on,
but our contract ends on 31 March and my manager asks for an offer by then.

Kind regards
Anna Kowalska, Kowalska Logistics GmbH"""
_NOTE = """\
Called {pieces} minutes after the mail of invoice {number}. She was friendly, wants the corrected
invoice this week and an offer for {pieces} seats. Discount promised by the former account manager:
10 %. Next step: ask finance, call back on Thursday."""


def values(number: int) -> "Values":
    """A question on a customer's mail and a note of a call, 1 kB in all."""
    fill = {"number": 100_000 + number, "order": 7 * number, "pieces": 2 + number % 60}
    mail = _MAIL.format(**fill, tail=f"{number % 1_000:03}")
    return {
        "language": "English",
        "question": f"What does the customer of invoice {fill['number']} want, and by when?",
        "passages": [Source("S1", mail), Source("S2", _NOTE.format(**fill))],
    }


def bare(url: str) -> Way:
    """The openai client, with the same prompt and nothing around it."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key=_KEY, max_retries=0, timeout=_TIMEOUT)

    async def ask(number: int) -> str:
        system, user = _rendered(number)
        answer = await client.chat.completions.create(
            model=MODEL,
            max_completion_tokens=OUTPUT_TOKENS,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
        )
        return answer.choices[0].message.content or ""

    return ask


def chain(url: str) -> Way:
    """A LangChain chain whose model has a fallback: retries and failover, and no more."""
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    first, second = (
        ChatOpenAI(
            model=MODEL,
            base_url=f"{url}/v1",
            api_key=SecretStr(_KEY),
            max_completion_tokens=OUTPUT_TOKENS,
            timeout=_TIMEOUT,
        )
        for _ in range(2)
    )
    template = ChatPromptTemplate.from_messages([("system", "{system}"), ("human", "{user}")])
    model = template | first.with_fallbacks([second])

    async def ask(number: int) -> str:
        system, user = _rendered(number)
        return (await model.ainvoke({"system": system, "user": user})).text

    return ask


def galena(gateway: "Gateway") -> Way:
    """The whole path, for four tenants in turn."""

    async def ask(number: int) -> str:
        given = await gateway.ask(call(TENANTS[number % 4]), values(number))
        assert given.tier is None
        return given.text

    return ask


def call(tenant_id: str, feature: str = "answers", data_version: str = "") -> Call:
    version = prompt.load("answer").version
    return Call(tenant_id, feature, "answer", version, data_version=data_version)


def _rendered(number: int) -> tuple[str, str]:
    found = prompt.load("answer").render(values(number), _as_it_is, None)
    return found.system, found.user


def _as_it_is(_kind: Kind, text: str) -> str:
    return text
