"""The candidates of a process: their chat models, and how each has done lately.

One pool serves all calls, from any thread and event loop.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Literal

from ai import prices
from ai.breaker import Breaker, Outcome, State, Ticket
from ai.calls import Usage
from ai.configuration import Candidate, Configuration
from ai.providers.building import build
from ai.quality import Change, Quality
from ai.stores import Alerts

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

ALERT = "model quality"
# An attempt ends by its route's clock; the client's own timeout is only to be longer than any.
_CLIENT_SECONDS = 600.0
# A call is overdue after four times what the candidate's answers take on average, and not before
# two seconds: answers differ in length.
_OVERDUE_TIMES, _OVERDUE_SECONDS = 4.0, 2.0
# The mean forgets: of the last answer it takes a fifth.
_NEWEST = 0.2


@dataclass(frozen=True)
class Condition:
    """How a candidate does. seconds: the mean latency of its answers, the latest ones counting
    most; None before the first. in_flight: requests under way. answered, failed: since the
    process began. quality_switched: of how many tenants its backup is preferred for its answers'
    failed checks."""

    breaker: State
    in_flight: int
    seconds: float | None
    answered: int
    failed: int
    quality_switched: int


@dataclass
class _Lately:
    breaker: Breaker
    in_flight: int = 0
    seconds: float | None = None
    answered: int = 0
    failed: int = 0
    quality: dict[str, Quality] = field(default_factory=dict)


class Pool:
    """environment: holds the keys that the configuration names. clock: for prices, which change.
    alerts: told when a model's answers fail their checks; None for nobody. timer: monotonic
    seconds."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Mapping[str, str],
        clock: Callable[[], datetime],
        alerts: Alerts | None = None,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configuration, self._environment = configuration, environment
        self._clock, self._alerts, self._timer = clock, alerts, timer
        self._lock, self._building = threading.Lock(), threading.Lock()
        self._models: dict[tuple[str, int], BaseChatModel] = {}
        breakers: dict[tuple[str | None, ...], Breaker] = {}
        self._lately = {
            name: _Lately(breakers.setdefault(_endpoint(candidate), Breaker()))
            for name, candidate in configuration.candidates.items()
        }

    def candidate(self, name: str) -> Candidate:
        return self._configuration.candidates[name]

    async def model(self, name: str, output_tokens: int) -> "BaseChatModel":
        """The candidate's chat model; built in a thread when it is first used, for its library
        takes a second to import."""
        found = self._models.get((name, output_tokens))
        if found is None:
            found = await asyncio.to_thread(self._build, name, output_tokens)
        return found

    def _build(self, name: str, output_tokens: int) -> "BaseChatModel":
        with self._building:
            if (name, output_tokens) not in self._models:
                self._models[name, output_tokens] = build(
                    self.candidate(name),
                    self._environment,
                    output_tokens=output_tokens,
                    seconds=_CLIENT_SECONDS,
                )
            return self._models[name, output_tokens]

    def ordered(
        self,
        names: Sequence[str],
        order: Literal["listed", "cheapest", "spread"],
        tenant_id: str,
        likely: Usage,
    ) -> list[str]:
        """The names in the order in which they are to be asked; last those whose answers have
        failed the tenant's checks.

        cheapest: by the price of the likely usage, unknown prices last. spread: those with the
        fewest requests under way first, of these the quickest.
        """
        found = list(names)
        if order == "cheapest":
            found.sort(key=lambda name: _unknown_last(self.price(name, likely)))
        with self._lock:
            if order == "spread":
                found.sort(key=self._busy)
            now = self._timer()
            return sorted(found, key=lambda name: not self._prefers(name, tenant_id, now))

    def price(self, name: str, usage: Usage) -> Decimal | None:
        return prices.price(self.candidate(name), usage, at=self._clock())

    def wait(self, name: str, *, alone: bool) -> float:
        """Seconds until the candidate may be asked; inf while it is known to fail."""
        with self._lock:
            return self._lately[name].breaker.wait(self._timer(), alone=alone)

    def enter(self, name: str, *, alone: bool) -> Ticket | float:
        """Leave to ask the candidate once, or the seconds until then, as `wait`."""
        with self._lock:
            lately, now = self._lately[name], self._timer()
            if seconds := lately.breaker.wait(now, alone=alone):
                return seconds
            lately.in_flight += 1
            return lately.breaker.enter(now)

    def leave(
        self, name: str, ticket: Ticket, outcome: Outcome | None, seconds: float | None = None
    ) -> None:
        """What was asked has ended. outcome: None when it says nothing of the candidate. seconds:
        until it was answered, None when it was not."""
        with self._lock:
            lately = self._lately[name]
            lately.in_flight -= 1
            lately.breaker.note(self._timer(), ticket, outcome)
            if seconds is None:
                lately.failed += outcome is not None
                return
            lately.answered += 1
            mean = lately.seconds
            lately.seconds = seconds if mean is None else mean + _NEWEST * (seconds - mean)

    def patience(self, name: str) -> float | None:
        """Seconds after which a call is overdue; None before the first answer."""
        mean = self._lately[name].seconds
        return None if mean is None else max(_OVERDUE_SECONDS, _OVERDUE_TIMES * mean)

    def overdue(self, name: str, ticket: Ticket) -> bool:
        """Note that a call takes long; whether so many do that the candidate is to be left."""
        with self._lock:
            self._lately[name].breaker.note(self._timer(), ticket, "strained")
        return self.is_left(name)

    def is_left(self, name: str) -> bool:
        """Whether the candidate is to be left, as failing or strained."""
        with self._lock:
            return self._lately[name].breaker.state(self._timer()) != "closed"

    def rest(self, name: str, seconds: float) -> None:
        """The candidate asked not to be asked for so long."""
        with self._lock:
            self._lately[name].breaker.rest(self._timer(), seconds)

    def note_quality(self, name: str, ok: bool, tenant_id: str) -> None:
        """Whether an answer passed the tenant's checks. An alert is raised and resolved in a
        thread of its own, for the event loop is not to wait for a database."""
        with self._lock:
            quality = self._lately[name].quality.setdefault(tenant_id, Quality())
            change, share = quality.note(self._timer(), ok), quality.failed_share
        if change is not None and self._alerts is not None:
            tell = partial(_tell, self._alerts, change, tenant_id, name, share)
            threading.Thread(target=tell, name="model quality").start()

    def report(self) -> dict[str, Condition]:
        """How each candidate does, by name."""
        with self._lock:
            now = self._timer()
            return {
                name: Condition(
                    breaker=lately.breaker.state(now),
                    in_flight=lately.in_flight,
                    seconds=lately.seconds,
                    answered=lately.answered,
                    failed=lately.failed,
                    quality_switched=sum(one.switched for one in lately.quality.values()),
                )
                for name, lately in self._lately.items()
            }

    def _busy(self, name: str) -> tuple[int, float]:
        lately = self._lately[name]
        return lately.in_flight, lately.seconds or 0.0

    def _prefers(self, name: str, tenant_id: str, now: float) -> bool:
        quality = self._lately[name].quality.get(tenant_id)
        return quality is None or quality.preferred(now)


def _tell(alerts: Alerts, change: Change, tenant_id: str, name: str, share: float) -> None:
    if change == "restored":
        alerts.resolve(tenant_id, ALERT, name)
        return
    message = (
        f"{share:.0%} of the last answers of {name} failed their checks: the feature's other"
        " candidates are preferred until its answers are good again."
    )
    alerts.raise_alert(tenant_id, ALERT, name, message)


def _endpoint(candidate: Candidate) -> tuple[str | None, ...]:
    """What fails together: a model at an address, with a key."""
    return candidate.provider, candidate.base_url, candidate.model, candidate.key_variable


def _unknown_last(price: Decimal | None) -> tuple[bool, Decimal]:
    return price is None, price or Decimal(0)
