"""A fake provider on loopback for tests, and what it was sent."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ai.fake_provider.running import listen, server
from ai.fake_provider.script import Fault, Script


@contextmanager
def running_provider(script: Script | None = None) -> Iterator[str]:
    """The URL of a server that does what the script says, in a thread of its own."""
    with listen(0) as taken:
        found = server(script or Script(), lambda: datetime.now(UTC))
        thread = threading.Thread(target=found.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            found.should_exit = True
            thread.join()


def set_faults(url: str, *faults: Fault) -> None:
    """From now on these faults, and no others."""
    body = json.dumps([fault.model_dump() for fault in faults]).encode()
    _ask(url + "/admin/faults", body)


def requests_to(url: str) -> list[dict[str, Any]]:
    """What was received: provider, path, headers (of a key only that it was sent) and body."""
    return list(_ask(url + "/admin/requests")["requests"])


def most_waiting(url: str) -> int:
    """How many requests waited for their first byte at once."""
    return int(_ask(url + "/admin/requests")["most_waiting"])


def _ask(url: str, body: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, body, timeout=10) as answer:
        return dict(json.load(answer))
