"""How a reply leaves the server: whole, in events, broken off, or never."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

Event = tuple[str, dict[str, Any] | str]


@dataclass(frozen=True)
class Body:
    """An HTTP response, sent part by part.

    Without `complete` the connection ends after the last part: the server closes it when an
    application returns before it said that nothing more comes. pause is awaited between parts.
    """

    parts: Iterator[bytes]
    content_type: bytes
    complete: bool
    pause: Callable[[], Any] | None = None

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self.content_type)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if self.pause:
                await self.pause()
        if self.complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def whole(content: Mapping[str, Any], fault: str | None) -> Body:
    """A reply in one piece, or the part of it that the fault lets through."""
    body = orjson.dumps(content)
    half = body[: len(body) // 2]
    parts = {"broken": [], "cut": [half], "malformed": [half]}.get(fault or "", [body])
    return Body(iter(parts), b"application/json", complete=fault not in ("broken", "cut"))


def events(
    found: Iterator[Event], fault: str | None, broken_by: Event, pause: Callable[[], Any] | None
) -> Body:
    """A reply as server-sent events, up to where the fault ends it.

    broken_by: the event that tells of an error in the middle.
    """
    return Body(
        _lines(found, fault, broken_by),
        b"text/event-stream",
        complete=fault not in ("broken", "cut"),
        pause=pause,
    )


def _lines(found: Iterator[Event], fault: str | None, broken_by: Event) -> Iterator[bytes]:
    lines = [_line(event) for event in found]
    half = len(lines) // 2
    if fault == "broken":
        return iter(())
    if fault == "cut":
        return iter(lines[:half])
    if fault == "stream_error":
        return iter([*lines[:half], _line(broken_by)])
    if fault == "malformed":
        return iter([*lines[:half], lines[half][:-12] + b"\n\n"])
    return iter(lines)


def _line(event: Event) -> bytes:
    name, data = event
    head = f"event: {name}\n".encode() if name else b""
    body = data.encode() if isinstance(data, str) else orjson.dumps(data)
    return head + b"data: " + body + b"\n\n"


async def gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
