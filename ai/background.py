"""The event loop on which calls from blocking code run: one of the process, in a thread."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar, cast

T = TypeVar("T")

_lock = threading.Lock()
_thread: threading.Thread | None = None
_loop = asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Wait for the work, done on the process's loop. Whoever stops waiting cancels it.

    Raises RuntimeError on that loop itself, which would wait for itself.
    """
    future = asyncio.run_coroutine_threadsafe(work, _running())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running() -> asyncio.AbstractEventLoop:
    global _thread, _loop
    with _lock:
        if _thread is threading.current_thread():
            raise RuntimeError("A blocking call on the loop of blocking calls: await it instead.")
        # After a fork the thread is gone, and its loop is the parent's.
        if _thread is None or not _thread.is_alive():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="models", daemon=True)
            _thread.start()
        return _loop


def stream(pieces: AsyncGenerator[T, None]) -> Iterator[T]:
    """The pieces as they come, made on the process's loop; whoever stops reading ends them."""

    async def following() -> tuple[bool, T | None]:
        try:
            return True, await anext(pieces)
        except StopAsyncIteration:
            return False, None

    try:
        while True:
            goes_on, piece = run(following())
            if not goes_on:
                return
            yield cast("T", piece)
    finally:
        run(pieces.aclose())
