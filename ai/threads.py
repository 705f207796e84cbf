"""The few threads in which stores block, so that calls under way do not."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# As many as the connections a process keeps, twice: more only wait for one another.
_THREADS = 8


class Threads:
    """Runs what blocks, for any number of calls and event loops of this process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="galena-llm")

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """What the function returns or raises."""
        return asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The same for who has to know how it ends, also after having left."""
        return self._pool.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown()
