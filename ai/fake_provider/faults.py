"""Which fault meets which request: by share, number, time, format and model."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from ai.fake_provider.exchange import Question
from ai.fake_provider.script import Fault


@dataclass
class _Set:
    """A fault since when it holds, on the monotonic clock, and how often it may still strike."""

    fault: Fault
    since: float
    left: int | None


class Faults:
    """The faults that are set. Their order matters: the first that strikes is the only one."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._set: list[_Set] = []

    def replace(self, faults: Iterable[Fault], *, now: float) -> None:
        """Let these hold from now on, and no others."""
        self._set = [_Set(fault, now + fault.after, fault.times) for fault in faults]

    def strike(self, question: Question, *, now: float) -> Fault | None:
        """The fault that meets this request, which counts as one of its times."""
        for one in self._set:
            if self._meets(one, question, now):
                if one.left is not None:
                    one.left -= 1
                return one.fault
        return None

    def _meets(self, one: _Set, question: Question, now: float) -> bool:
        fault = one.fault
        return (
            one.left != 0
            and one.since <= now
            and (fault.seconds is None or now < one.since + fault.seconds)
            and fault.provider in (None, question.provider)
            and fault.model in (None, question.model)
            and (fault.share == 1 or self._chance.random() < fault.share)
        )
