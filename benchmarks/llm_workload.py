"""Two days of a CRM's calls to a language model; docs/decisions/answer-cache.md says why so."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from ai import embedding
from ai.prompt import Source

if TYPE_CHECKING:
    from ai.gateway import Values

Feature = Literal["summaries", "answers", "triage"]
FEATURES: tuple[Feature, ...] = ("summaries", "answers", "triage")
MINUTES = 600
DAYS = 2
_TOPICS = "billing, delivery, contract, fault, praise, other"
_ZIPF = 0.8
_CUSTOMERS_EACH = 60
_NEWEST = 4

# A person's day.
_MESSAGES, _BROWSED, _ASKED = 8, 8, 6
# Shares and means of what repeats; they are what `repetition` scales.
_AUTOMATIC, _COLLEAGUES, _AGAIN, _OF_THE_BASE = 0.15, 0.8, 0.4, 0.75
_ANSWERED = 0.5
_PASSAGES = 2


@dataclass(frozen=True)
class Asked:
    """One call. minute: of both days. proof: what a right answer holds."""

    minute: int
    tenant_id: str
    feature: Feature
    values: "Values" = field(repr=False)
    proof: str
    data_version: str = ""


@dataclass
class _Customer:
    number: int
    name: str
    history: list[str] = field(default_factory=list)


def wordings() -> list[list[str]]:
    """The questions that the knowledge base answers: a list of wordings for each."""
    return [intent for article in _read("questions") for intent in article["intents"]]


def said(wording: str) -> tuple[str, str, str]:
    """The ways in which a wording is typed: as it stands, without the mark, and all in a hurry."""
    bare = wording.removesuffix("?")
    return wording, bare, bare[0].lower() + bare[1:]


def names(staff: int) -> list[str]:
    """Of the customers of a tenant with so many people, as its CRM has them."""
    chance = random.Random(f"names of {staff}")
    first, last = _read("messages")["first"].split(), _read("messages")["last"].split()
    return [f"{chance.choice(first)} {chance.choice(last)}" for _ in range(staff * _CUSTOMERS_EACH)]


def workload(tenants: Mapping[str, int], repetition: float) -> list[Asked]:
    """All calls, by minute. tenants: how many people work at each, by which its days are drawn.
    repetition: 1, or less of it."""
    found = [
        asked
        for tenant_id, staff in tenants.items()
        for asked in _Tenant(tenant_id, staff, repetition).asked()
    ]
    return sorted(found, key=lambda asked: asked.minute)


class _Tenant:
    def __init__(self, tenant_id: str, staff: int, repetition: float) -> None:
        self._tenant_id, self._staff, self._repetition = tenant_id, staff, repetition
        self._chance = random.Random(f"days of {staff}")
        named = enumerate(names(staff))
        self._customers = [_Customer(number, name) for number, name in named]
        self._weights = _zipf(len(self._customers))
        self._mails = 0
        for customer in self._customers:
            customer.history = [self._message(customer) for _ in range(_NEWEST)]

    def asked(self) -> Iterator[Asked]:
        """Everything happens in the order of its minutes: what a page shows depends on it."""
        happening: defaultdict[int, list[tuple[str, _Customer]]] = defaultdict(list)
        for day in range(DAYS):
            for what, number in (("message", _MESSAGES), ("open", _BROWSED), ("ask", _ASKED)):
                for _ in range(number * self._staff):
                    minute = day * MINUTES + self._chance.randrange(MINUTES)
                    happening[minute].append((what, self._popular()))
        for minute in range(DAYS * MINUTES):
            for what, customer in happening.pop(minute, ()):
                for later, then in self._follow(what):
                    happening[minute + 1 + int(later)].append((then, customer))
                yield from self._happens(minute, what, customer)

    def _follow(self, what: str) -> Iterator[tuple[float, str]]:
        """What comes of it, and after how many minutes."""
        chance, repetition = self._chance, self._repetition
        if what == "message":
            for _ in range(1 + _poisson(chance, _COLLEAGUES * repetition)):
                yield chance.expovariate(1 / 45), "open"
            if chance.random() < _ANSWERED:
                yield chance.expovariate(1 / 60), "reply"
        if what == "open" and chance.random() < _AGAIN * repetition:
            yield chance.expovariate(1 / 10), "open"

    def _happens(self, minute: int, what: str, customer: _Customer) -> Iterator[Asked]:
        match what:
            case "message":
                yield self._triage(minute, customer)
            case "reply":
                customer.history.append(self._message(customer))
            case "open":
                yield self._summary(minute, customer)
            case _:
                yield self._question(minute, customer)

    def _triage(self, minute: int, customer: _Customer) -> Asked:
        if self._chance.random() < _AUTOMATIC * self._repetition:
            text = self._chance.choice(_read("messages")["automatic"])
        else:
            text = self._message(customer)
            customer.history.append(text)
        values: dict[str, str | Sequence[Source]] = {
            "topics": _TOPICS,
            "message": [Source("M1", text)],
        }
        return Asked(minute, self._tenant_id, "triage", values, "")

    def _summary(self, minute: int, customer: _Customer) -> Asked:
        """What the page of a customer shows: its newest messages in short."""
        newest = customer.history[: -_NEWEST - 1 : -1]
        values: dict[str, str | Sequence[Source]] = {
            "language": "English",
            "question": "What does this customer want, what is open, and how do they feel?",
            "passages": [Source(f"S{n}", text) for n, text in enumerate(newest, 1)],
        }
        version = f"{customer.number}.{len(customer.history)}"
        proof = newest[0].partition("\n")[0]
        return Asked(minute, self._tenant_id, "summaries", values, proof, version)

    def _question(self, minute: int, customer: _Customer) -> Asked:
        if self._chance.random() < _OF_THE_BASE * self._repetition:
            intents = wordings()
            number = self._chance.choices(range(len(intents)), cum_weights=_zipf(len(intents)))[0]
            intent = _shuffled(self._staff)[number]
            wording = self._chance.choice(intents[intent])
            question = self._chance.choices(said(wording), (3, 1, 1))[0]
            passages = _retrieved(wording)
            proof = f"[{intent}]"
        else:
            newest = customer.history[-1]
            proof = newest.partition("\n")[0]
            question = f"What did we promise {customer.name} about {proof.lower()}?"
            passages = [newest]
        values: dict[str, str | Sequence[Source]] = {
            "language": "English",
            "question": question,
            "passages": [Source(f"S{n}", text) for n, text in enumerate(passages, 1)],
        }
        return Asked(minute, self._tenant_id, "answers", values, proof)

    def _popular(self) -> _Customer:
        return self._chance.choices(self._customers, cum_weights=self._weights)[0]

    def _message(self, customer: _Customer) -> str:
        self._mails += 1
        chance = self._chance
        pattern: str = chance.choice(_read("messages")["messages"])
        return pattern.format(
            number=f"{self._mails:06}",
            name=customer.name,
            first=customer.name.split()[0].lower(),
            amount=chance.randrange(20, 9_000),
            pieces=chance.randrange(2, 60),
            day=chance.choice(("Monday", "Wednesday", "Friday")),
            thing=chance.choice(("scanners", "printers", "licences", "labels", "batteries")),
        )


@cache
def _read(name: str) -> Any:
    return yaml.safe_load(Path(__file__).with_name(f"llm_{name}.yaml").read_text())


@cache
def _shuffled(staff: int) -> Sequence[int]:
    """The intents from the most to the least asked: each tenant has its own favourites."""
    order = list(range(len(wordings())))
    random.Random(f"intents of {staff}").shuffle(order)
    return order


@cache
def _retrieved(wording: str) -> Sequence[str]:
    """The articles nearest to the question, in the order of the knowledge base."""
    texts = [article["article"] for article in _read("questions")]
    near = embedding.embed([wording]) @ embedding.embed(texts).T
    return [texts[one] for one in sorted(near[0].argsort()[::-1][:_PASSAGES])]


@cache
def _zipf(many: int) -> Sequence[float]:
    return list(accumulate((rank + 1) ** -_ZIPF for rank in range(many)))


def _poisson(chance: random.Random, mean: float) -> int:
    number, waited = 0, chance.expovariate(1)
    while waited < mean:
        number, waited = number + 1, waited + chance.expovariate(1)
    return number


def counts(asked: Sequence[Asked]) -> Counter[Feature]:
    return Counter(one.feature for one in asked)
