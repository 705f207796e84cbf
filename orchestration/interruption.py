"""Ctrl-C, termination and a closed terminal, as one exception that never disturbs a clean-up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """The first of the signals raises KeyboardInterrupt where that is allowed; all others wait.

    Meant for a process that has others to stop: what stands outside of `allowed` runs to its end,
    however often Ctrl-C is pressed.
    """

    def __init__(self) -> None:
        self._arrived = False
        self._allowed = False

    @contextmanager
    def handled(self) -> Iterator["Interruption"]:
        """Take the signals over from whoever handles them."""
        before = {number: signal.signal(number, self._arrive) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """The body may be interrupted, once."""
        try:
            self._allow()
            yield
        finally:
            self._allowed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within `allowed`, a body that must not be left half done: interrupted at its end."""
        self._allowed = False
        yield
        self._allow()

    def _allow(self) -> None:
        self._allowed = True
        self._raise()

    def _arrive(self, _signal: int, _frame: FrameType | None) -> None:
        self._arrived = True
        self._raise()

    def _raise(self) -> None:
        if self._arrived and self._allowed:
            self._allowed = False
            raise KeyboardInterrupt
