"""The fake provider on a port of this machine."""

import socket
from collections.abc import Callable
from datetime import datetime

import uvicorn

from ai.fake_provider.script import Script
from ai.fake_provider.server import FakeProvider

# Of connections that wait to be taken: 1,000 clients that start at once are not turned away.
_BACKLOG = 4_096


def listen(port: int) -> socket.socket:
    """Take a port on loopback, 0 for any that is free. Raises OSError: somebody else has it."""
    return socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)


def server(script: Script, clock: Callable[[], datetime]) -> uvicorn.Server:
    """What `run(sockets=[...])` serves until `should_exit` or Ctrl-C.

    Silent: an answer that breaks off is an error to uvicorn, and an order here.
    """
    return uvicorn.Server(
        uvicorn.Config(
            FakeProvider(script, clock).application(),
            log_level=60,
            access_log=False,
            lifespan="off",
            server_header=False,
            # As providers do it: clients that keep their connections find them open.
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
    )
