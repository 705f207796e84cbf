"""Whether a candidate's answers pass their checks, for one tenant.

By tenant, for what fails the checks of one, such as mail full of attacks, says little about the
answers to another; and no tenant can take a model away from the others.
"""

from collections import deque
from typing import Literal

# Where one answer in ten fails, seven of twenty do so in 2 of 1,000 such windows.
WINDOW = 20
TOO_MANY = 0.3
PROBE_SECONDS = 60.0
GOOD_PROBES = 3

Change = Literal["switched", "restored"]


class Quality:
    """The last checks of one candidate's answers. `now` is of a monotonic clock, in seconds. Not
    thread-safe: the pool holds its lock around it.

    When more than TOO_MANY of the last WINDOW have failed, others are preferred. Then one call
    each PROBE_SECONDS goes to it as before, and GOOD_PROBES good ones in a row restore it: a
    model that fails every other time passes one probe in two.
    """

    def __init__(self) -> None:
        self._passed: deque[bool] = deque(maxlen=WINDOW)
        self._switched = False
        self._probe_at = 0.0
        self._probes_out = 0
        self._good = 0

    @property
    def switched(self) -> bool:
        return self._switched

    @property
    def failed_share(self) -> float:
        """Of the checks that are kept; 0 where there are none."""
        return self._passed.count(False) / len(self._passed) if self._passed else 0.0

    def preferred(self, now: float) -> bool:
        """Whether a call goes to it before its backup; one is a probe now and then."""
        if not self._switched:
            return True
        if now < self._probe_at:
            return False
        self._probe_at = now + PROBE_SECONDS
        self._probes_out += 1
        return True

    def note(self, now: float, ok: bool) -> Change | None:
        """One check; what it changes."""
        if self._switched:
            return self._note_probe(ok)
        self._passed.append(ok)
        if len(self._passed) < WINDOW or self.failed_share <= TOO_MANY:
            return None
        self._switched, self._good = True, 0
        self._probe_at, self._probes_out = now + PROBE_SECONDS, 0
        return "switched"

    def _note_probe(self, ok: bool) -> Change | None:
        if not self._probes_out:
            return None  # An answer that was on its way when it was switched.
        self._probes_out -= 1
        self._good = self._good + 1 if ok else 0
        if self._good < GOOD_PROBES:
            return None
        self._switched = False
        self._passed.clear()
        return "restored"
