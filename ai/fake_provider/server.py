"""The fake provider's HTTP: routes, keys, delays, and what was received."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from types import ModuleType
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ai.fake_provider import anthropic_format, google_format, openai_format
from ai.fake_provider.answering import reply
from ai.fake_provider.delivery import events, gone, whole
from ai.fake_provider.exchange import Question, Refusal
from ai.fake_provider.faults import Faults
from ai.fake_provider.script import STATUSES, Fault, Script

_FORMATS: Mapping[str, ModuleType] = {
    "openai": openai_format,
    "anthropic": anthropic_format,
    "google": google_format,
}
_FAULTS = TypeAdapter(tuple[Fault, ...])
# By which a key is sent; what is kept of a request shows that there was one, and not which.
_SECRET = frozenset(("authorization", "x-api-key", "x-goog-api-key"))

Endpoint = Callable[[Request], Awaitable[ASGIApp]]


class FakeProvider:
    """One server's state: its script, the faults that are set, and what it has received.

    clock: the time of day, for a Retry-After that is a date.
    """

    def __init__(self, script: Script, clock: Callable[[], datetime]) -> None:
        self._script = script
        self._clock = clock
        self._chance = random.Random(script.seed)
        self._faults = Faults(self._chance)
        self._faults.replace(script.faults, now=time.monotonic())
        self._received: deque[dict[str, Any]] = deque(maxlen=script.keep)
        self._count = 0
        self._waiting = self._most_waiting = 0

    def application(self) -> Starlette:
        """What an ASGI server serves."""
        google = "/v1beta/models/{model}"
        posts = {
            "/v1/chat/completions": self._serve("openai"),
            "/chat/completions": self._serve("openai"),
            "/v1/messages": self._serve("anthropic"),
            f"{google}:generateContent": self._serve("google"),
            f"{google}:streamGenerateContent": self._serve("google", stream=True),
            "/admin/faults": self._set_faults,
        }
        return Starlette(
            routes=[
                *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
                Route("/admin/requests", self._show_received, methods=["GET"]),
                Route("/admin/requests", self._forget_received, methods=["DELETE"]),
            ]
        )

    def _serve(self, provider: str, *, stream: bool = False) -> Endpoint:
        wire = _FORMATS[provider]

        async def answer(request: Request) -> ASGIApp:
            try:
                body = orjson.loads(await request.body())
                asked = wire.question(body, request.path_params.get("model", ""), stream=stream)
            except (ValueError, KeyError, TypeError, AttributeError):
                return self._refuse(wire, Refusal("wrong request", 400))
            self._note(provider, request, body)
            if self._script.api_key not in (None, wire.key(request.headers)):
                return self._refuse(wire, _refusal(wire, "401"))
            fault = self._faults.strike(asked, now=time.monotonic())
            with self._counted():
                await self._wait()
                if fault and fault.kind == "hang":
                    await gone(request)
                    return Response(status_code=408)
            return self._respond(wire, asked, fault)

        return answer

    def _respond(self, wire: ModuleType, asked: Question, fault: Fault | None) -> ASGIApp:
        kind = fault.kind if fault else None
        if fault and kind in STATUSES:
            return self._refuse(wire, _refusal(wire, fault.kind, fault), fault)
        said = reply(asked, self._script, kind)
        if not asked.stream:
            return whole(wire.answer(asked, said), kind)
        pause = self._script.chunk_seconds
        return events(
            wire.chunks(asked, said),
            kind,
            wire.stream_error(Refusal("529", 529)),
            (lambda: asyncio.sleep(pause)) if pause else None,
        )

    async def _wait(self) -> None:
        script = self._script
        spread = self._chance.uniform(-script.spread, script.spread) if script.spread else 0
        if (seconds := script.latency + spread) > 0:
            await asyncio.sleep(seconds)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._waiting += 1
        self._most_waiting = max(self._waiting, self._most_waiting)
        try:
            yield
        finally:
            self._waiting -= 1

    def _refuse(self, wire: ModuleType, refusal: Refusal, fault: Fault | None = None) -> Response:
        headers = {}
        if fault and fault.retry_after is not None and fault.retry_after_as != "body":
            name, value = self._retry_after(fault.retry_after, fault.retry_after_as)
            headers[name] = value
        return JSONResponse(wire.error(refusal), refusal.status, headers)

    def _retry_after(self, seconds: float, form: str) -> tuple[str, str]:
        if form == "milliseconds":
            return "retry-after-ms", f"{seconds * 1000:.0f}"
        if form == "date":
            # An HTTP date has whole seconds: rounded up, for sooner would be refused again.
            at = self._clock() + timedelta(seconds=seconds, microseconds=999_999)
            return "retry-after", format_datetime(at, usegmt=True)
        return "retry-after", f"{seconds:g}"

    def _note(self, provider: str, request: Request, body: Any) -> None:
        self._count += 1
        headers = {
            name: "sent" if name in _SECRET else value for name, value in request.headers.items()
        }
        self._received.append(
            {"provider": provider, "path": request.url.path, "headers": headers, "body": body}
        )

    async def _set_faults(self, request: Request) -> ASGIApp:
        try:
            faults = _FAULTS.validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": str(error)}, 422)
        self._faults.replace(faults, now=time.monotonic())
        return JSONResponse({"faults": len(faults)})

    async def _show_received(self, _request: Request) -> ASGIApp:
        """Since the start or the last DELETE. count: of all; most_waiting: for their first byte at
        once; requests: the latest of them."""
        return JSONResponse(
            {
                "count": self._count,
                "most_waiting": self._most_waiting,
                "requests": list(self._received),
            }
        )

    async def _forget_received(self, _request: Request) -> ASGIApp:
        self._count = self._most_waiting = 0
        self._received.clear()
        return JSONResponse({"count": 0})


def _refusal(wire: ModuleType, kind: str, fault: Fault | None = None) -> Refusal:
    status = getattr(wire, "STATUSES", {}).get(kind, STATUSES[kind])
    in_body = fault is not None and fault.retry_after_as == "body"
    return Refusal(kind, status, fault.retry_after if fault and in_body else None)
