"""The way of one call: which candidate is asked, when it is asked again, and when the next one is.

docs/decisions/routing.md says why so.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NoReturn

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration

from ai import retry
from ai.asking import Asking, AttemptError
from ai.breaker import Ticket
from ai.calls import Usage
from ai.candidates import Pool
from ai.configuration import OFFLINE, Feature
from ai.errors import BudgetExceededError, NoAnswerError, OutOfTimeError
from ai.failures import Failure
from ai.stores import Meter

# Longer than this nobody waits for a candidate while another is free.
LONGEST_STAY_SECONDS = 2.0
# While others are left, a candidate that does not answer may take so much of the time that is left.
SHARE = 0.5
# A request that is wrong is wrong elsewhere too, and what one provider's filter withholds is not
# taken round it to the next provider.
_FINAL = frozenset({"bad_request", "content_filtered"})


@dataclass(eq=False)
class _Choice:
    """A candidate that may still be asked. not_before: by the monotonic clock."""

    name: str
    tried: int = 0
    not_before: float = 0.0


@dataclass(frozen=True)
class _Turn:
    """Whom to ask now, and for how many seconds at most."""

    choice: _Choice
    ticket: Ticket
    seconds: float


@dataclass
class Route:
    """One call on its way.

    ask: how a chat model is asked, whole or in pieces. most, likely: what the call takes. rng: of
        the jitter. with_tools: whether the model is to be able to call tools.
    served_by: the candidate that answered. attempts: requests made. given_up: whether all that may
        be asked have been, in vain. paused: seconds that the time budget stood still.
    """

    pool: Pool
    feature_name: str
    feature: Feature
    tenant_id: str
    meter: Meter
    rng: random.Random
    ask: Callable[[BaseChatModel], AsyncGenerator[ChatGeneration, None]]
    most: Usage
    likely: Usage
    with_tools: bool
    served_by: str = ""
    attempts: int = 0
    given_up: bool = False
    paused: float = 0.0
    began: float = field(default_factory=time.monotonic)
    _choices: list[_Choice] = field(default_factory=list)
    _tried: dict[str, str] = field(default_factory=dict)
    _refused: BudgetExceededError | None = None

    async def pieces(self) -> AsyncGenerator[ChatGeneration, None]:
        """The answer of the first candidate that gives one; nothing of any other.

        Raises NoAnswerError, OutOfTimeError, BudgetExceededError; also after pieces, when the
        candidate that gave them breaks off.
        """
        self._choices = self._fitting()
        while turn := await self._turn():
            asking = Asking(self, turn.choice.name, turn.ticket, turn.seconds)
            try:
                async with aclosing(asking.pieces()) as pieces:
                    async for piece in pieces:
                        before = time.monotonic()
                        yield piece
                        self.paused += time.monotonic() - before
                self.served_by = turn.choice.name
                return
            except BudgetExceededError as error:
                self._keep_cheaper(turn.choice, error)
                continue
            except AttemptError as error:
                failure = error.failure
            self._go_on(turn, failure, begun=asking.begun)
        self._give_up()

    @property
    def left(self) -> float:
        """Seconds of the time budget. It stands still while the reader of a stream is busy, and
        while a provider's library is imported."""
        return self.began + self.paused + self.feature.seconds - time.monotonic()

    def others(self, name: str) -> bool:
        """Whether another candidate than this one could be asked within the time budget."""
        return any(
            self.pool.wait(choice.name, alone=False) < self.left
            for choice in self._choices
            if choice.name != name
        )

    def _fitting(self) -> list[_Choice]:
        feature = self.feature
        ordered = self.pool.ordered(feature.candidates, feature.order, self.tenant_id, self.likely)
        needed = self.likely.input_tokens + self.likely.output_tokens
        fitting = []
        for name in ordered:
            candidate = self.pool.candidate(name)
            if candidate.context_tokens < needed:
                self._tried[name] = "context too short"
            elif self.with_tools and candidate.provider == OFFLINE:
                self._tried[name] = "takes no tools"
            else:
                fitting.append(_Choice(name))
        return fitting

    async def _turn(self) -> _Turn | None:
        """The first candidate that may be asked, after waiting if need be; None when none may be
        within the time budget."""
        while self._choices and self.left > 0:
            soonest = self.left
            for choice in self._choices:
                alone = not self.others(choice.name)
                wait = choice.not_before - time.monotonic()
                if wait <= 0:
                    entered = self.pool.enter(choice.name, alone=alone)
                    if isinstance(entered, Ticket):
                        return self._at(choice, entered, alone=alone)
                    wait = entered
                soonest = min(soonest, wait)
                if choice.tried and wait <= LONGEST_STAY_SECONDS:
                    break
            if soonest >= self.left:
                return None
            await asyncio.sleep(soonest)
        return None

    def _at(self, choice: _Choice, ticket: Ticket, *, alone: bool) -> _Turn:
        if alone:
            return _Turn(choice, ticket, self.left)
        seconds = self.left * SHARE
        if ticket.probe:
            seconds = min(seconds, self.pool.patience(choice.name) or seconds)
        return _Turn(choice, ticket, seconds)

    def _keep_cheaper(self, choice: _Choice, error: BudgetExceededError) -> None:
        """Leave only candidates that are known to cost less."""
        price = self.pool.price(choice.name, self.most)
        self._tried[choice.name] = "budget"
        self._refused = error
        cheaper = []
        for other in self._choices:
            other_price = self.pool.price(other.name, self.most)
            if other_price is not None and (price is None or other_price < price):
                cheaper.append(other)
        self._choices = [other for other in cheaper if other is not choice]
        if not error.cheaper or not self._choices:
            raise error

    def _go_on(self, turn: _Turn, failure: Failure, *, begun: bool) -> None:
        """After an attempt that failed: who may still be asked, and from when."""
        choice = turn.choice
        choice.tried += 1
        self._tried[choice.name] = failure.kind
        if begun:
            raise NoAnswerError(
                f"The answer of {choice.name} broke off: {failure.message}. Ask again."
            )
        if failure.retryable and failure.retry_after:
            self.pool.rest(choice.name, failure.retry_after)
        if failure.kind in _FINAL:
            raise NoAnswerError(f"{choice.name} refused the request: {failure.message}.")
        if failure.kind == "context_too_long":
            self._keep_longer(choice)
        elif (
            not failure.retryable
            or choice.tried >= self.feature.attempts
            or (failure.kind == "timed_out" and self.others(choice.name))
        ):
            self._choices.remove(choice)
        else:
            wait = retry.seconds_before(choice.tried + 1, failure.retry_after, self.rng)
            choice.not_before = time.monotonic() + wait

    def _keep_longer(self, choice: _Choice) -> None:
        context = self.pool.candidate(choice.name).context_tokens
        self._choices = [
            other
            for other in self._choices
            if self.pool.candidate(other.name).context_tokens > context
        ]

    def _give_up(self) -> NoReturn:
        for choice in self._choices:
            down = math.isinf(self.pool.wait(choice.name, alone=True))
            self._tried.setdefault(choice.name, "known to fail" if down else "not asked")
        if self._refused is not None and not self.attempts:
            raise self._refused
        self.given_up = True
        tried = ", ".join(f"{name} ({why})" for name, why in self._tried.items())
        if self.left <= 0:
            raise OutOfTimeError(
                f"No answer for {self.feature_name} within {self.feature.seconds:g} s; tried"
                f" {tried}. Ask again later, or give features.{self.feature_name} more seconds."
            )
        raise NoAnswerError(
            f"No candidate of {self.feature_name} gave an answer; tried {tried}. Ask again later,"
            " or see that the providers are up."
        )
