"""A circuit breaker: whether an endpoint may be asked at all, judged by how it did lately.

As in M. Nygard, Release It!, 2nd ed. (2018), ch. 5: closed, it lets all through and counts; open,
it lets none through; half-open, it lets one through to see. What counts is the share of failures
among the last calls, and of slow ones too, as in resilience4j's count-based window
(https://resilience4j.readme.io/docs/circuitbreaker). Slow calls and refused ones ("too many
requests") say that an endpoint is strained, not that it is down: it is then spared by whoever has
another, and by nobody else.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

# A window of calls, not of seconds: with 20 calls a second, half a minute of good calls before an
# outage would take half a minute of bad ones to outweigh.
WINDOW = 20
FEWEST = 5
TOO_MANY = 0.5
# An endpoint that is asked seldom is not judged by what happened an hour ago.
FORGOTTEN_SECONDS = 60.0
OPEN_SECONDS = 5.0
# A provider that asks for a day's rest is asked again after a minute all the same.
LONGEST_REST_SECONDS = 60.0

State = Literal["closed", "open", "half-open"]
Outcome = Literal["good", "failed", "strained"]


@dataclass(frozen=True)
class Ticket:
    """Leave to ask once. period: of the breaker; what was asked in an earlier one counts no more.
    probe: it decides alone."""

    period: int
    probe: bool


class Breaker:
    """Of one endpoint. `now` is of a monotonic clock, in seconds. Not thread-safe: the pool holds
    its lock around it."""

    def __init__(self) -> None:
        self._outcomes: deque[tuple[float, Outcome]] = deque(maxlen=WINDOW)
        self._open_until = -math.inf
        self._open = False
        self._only_strained = False
        self._probing = False
        self._period = 0
        self._rest_until = -math.inf

    def state(self, now: float) -> State:
        if not self._open:
            return "closed"
        return "half-open" if self._probing or now >= self._open_until else "open"

    def wait(self, now: float, *, alone: bool = False) -> float:
        """Seconds until it may be asked: 0 for now, inf while it is known to fail.

        alone: nobody else can answer. One that is merely strained is then asked all the same.
        """
        closed = not self._open or (alone and self._only_strained)
        if not closed and (self._probing or now < self._open_until):
            return math.inf
        return max(0.0, self._rest_until - now)

    def enter(self, now: float) -> Ticket:
        """Leave to ask; after `wait` gave 0."""
        probe = self._open and not self._probing and now >= self._open_until
        self._probing = self._probing or probe
        return Ticket(self._period, probe)

    def rest(self, now: float, seconds: float) -> None:
        """It asked not to be asked for so long."""
        until = now + min(seconds, LONGEST_REST_SECONDS)
        self._rest_until = max(self._rest_until, until)

    def note(self, now: float, ticket: Ticket, outcome: Outcome | None) -> None:
        """How the call went; None: it says nothing about the endpoint. A call that is overdue
        is noted as strained, and again when it has ended."""
        if ticket.period != self._period:
            return
        if self._open:
            if ticket.probe:
                self._note_probe(now, outcome)
            return
        if outcome is not None:
            self._outcomes.append((now, outcome))
        if outcome in ("failed", "strained"):
            self._judge(now)

    def _note_probe(self, now: float, outcome: Outcome | None) -> None:
        self._probing = False
        if outcome == "good":
            self._period += 1
            self._open = self._only_strained = False
        elif outcome is not None:
            self._open_until = now + OPEN_SECONDS

    def _judge(self, now: float) -> None:
        recent = [outcome for at, outcome in self._outcomes if now - at <= FORGOTTEN_SECONDS]
        failed = recent.count("failed")
        most = TOO_MANY * len(recent)
        if len(recent) < FEWEST or failed + recent.count("strained") < most:
            return
        self._only_strained = failed < most
        self._open, self._open_until = True, now + OPEN_SECONDS
        self._period += 1
        self._outcomes.clear()
