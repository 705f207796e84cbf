"""What the outside is told of calls: spans for OpenTelemetry and Langfuse, counts for Prometheus.

The names of spans and attributes stand here and nowhere else. Those of gen_ai are OpenTelemetry's
(https://github.com/open-telemetry/semantic-conventions-genai), which still change. Without a
configured receiver there are no spans and nothing of OpenTelemetry is imported.
"""

import asyncio
import base64
import json
import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ai import metrics
from ai.calls import NOTHING, Call
from ai.errors import ConfigurationError
from ai.stores import Entry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span, TracerProvider
    from requests import PreparedRequest

# OpenTelemetry's own variable for whether prompts and answers are exported.
CONTENTS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
LANGFUSE = ("LANGFUSE_HOST", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
_OTLP = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

# As the conventions name them; the others keep their own names.
_PROVIDERS = {"google": "gcp.gemini"}
_REQUESTED = frozenset(("answered", "failed", "unclear"))
_LEFT = (asyncio.CancelledError, GeneratorExit)

_provider: "TracerProvider | None" = None
_contents = False


def configure() -> None:
    """Export spans to whom the environment names, from now on; to nobody when it names none.

    Read are OpenTelemetry's variables for OTLP over HTTP, and the three of Langfuse. Raises
    ConfigurationError: some of Langfuse's are set, and not all.
    """
    global _provider, _contents
    shutdown()
    _contents = os.environ.get(CONTENTS, "").lower() == "true"
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    wanted = any(os.environ.get(name) for name in _OTLP)
    langfuse = _langfuse()
    if disabled or not (wanted or langfuse):
        return

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or "galena"
    # Ours alone and not the process's: what libraries trace of themselves holds contents.
    _provider = TracerProvider(resource=Resource.create({"service.name": name}))
    if wanted:
        _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if langfuse:
        import requests

        session, (endpoint, login) = requests.Session(), langfuse
        # Called on each request last of all: the exporter adds OTEL_EXPORTER_OTLP_HEADERS, which
        # hold the other receiver's key.
        session.auth = lambda request: _only(request, login)
        exporter = OTLPSpanExporter(endpoint=endpoint, session=session)
        _provider.add_span_processor(BatchSpanProcessor(exporter))


def shutdown() -> None:
    """Send what has not been sent, and export no more."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
        _provider = None


def call(call: Call) -> "Observed":
    """A context manager around a call; what it gives is told what becomes of it."""
    return Observed(call)


class Observed:
    """A call that is watched. An exception that leaves it is noted by its class alone."""

    __slots__ = ("_began", "_call", "_last", "_span")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._last: Entry | None = None
        self._began = 0.0
        self._span: Span | None = None

    def __enter__(self) -> "Observed":
        self._began = time.monotonic()
        if _provider is not None:
            self._span = _start(f"call {self._call.feature}", _of_call(self._call))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        outcome = self._outcome(kind)
        feature = self._call.feature
        metrics.calls.labels(feature, outcome).inc()
        metrics.call_seconds.labels(feature).observe(time.monotonic() - self._began)
        if self._span is not None:
            self._span.set_attribute("galena.outcome", outcome)
            if kind is not None and outcome != "cancelled":
                _fail(self._span, kind.__name__)
            self._span.end()

    def note(self, entry: Entry, tier: str = "") -> None:
        """What stands in the ledger's line. tier: of the cache that a hit came from."""
        self._last = entry
        metrics.note(self._call.feature, entry, tier)
        if self._span is None:
            return
        if entry.outcome in _REQUESTED:
            self._note_request(self._span, entry)
        elif entry.outcome == "hit":
            self._span.set_attribute("galena.cache.tier", tier)

    def found(self, guard: str, number: int = 1) -> None:
        """So many things that a guard found; what they are is not told."""
        metrics.findings.labels(self._call.feature, guard).inc(number)
        if self._span is not None:
            self._span.set_attribute(f"galena.guard.{guard}", number)

    def show(self, asked: str, answered: str) -> None:
        """What was sent and what came back, with placeholders for persons; exported only where
        the environment asks for contents."""
        if self._span is not None and _contents:
            self._span.set_attribute("gen_ai.input.messages", _message("user", asked))
            self._span.set_attribute("gen_ai.output.messages", _message("assistant", answered))

    def _outcome(self, kind: type[BaseException] | None) -> str:
        last = self._last.outcome if self._last else "failed"
        if kind is None or last in ("refused", "blocked"):
            return last
        return "cancelled" if issubclass(kind, _LEFT) else "failed"

    def _note_request(self, parent: "Span", entry: Entry) -> None:
        """Add a span for a request that has ended: it is known only now."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        end = (parent.start_time or 0) + int((time.monotonic() - self._began) * 1e9)
        span = _start(
            f"chat {entry.model}",
            {**_of_call(self._call), **_of_entry(entry)},
            kind=SpanKind.CLIENT,
            context=set_span_in_context(parent),
            start_time=end - int(entry.seconds * 1e9),
        )
        if span is None:
            return
        if entry.outcome != "answered":
            _fail(span, entry.error or entry.outcome)
        span.end(end)


def _start(name: str, attributes: Mapping[str, Any], **more: Any) -> "Span | None":
    """A span that is recorded; None when there are none, or a sampler leaves this one out."""
    from opentelemetry.sdk.trace import Span

    if _provider is None:
        return None
    span = _provider.get_tracer("galena.ai").start_span(name, attributes=attributes, **more)
    return span if isinstance(span, Span) else None


def _fail(span: "Span", error: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _of_call(call: Call) -> dict[str, str]:
    return {
        "galena.tenant": call.tenant_id,
        "galena.feature": call.feature,
        "gen_ai.prompt.name": call.prompt,
        "galena.prompt_version": call.prompt_version,
    }


def _of_entry(entry: Entry) -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(entry.provider, entry.provider),
        "gen_ai.request.model": entry.model,
        "galena.candidate": entry.candidate,
        "galena.outcome": entry.outcome,
    }
    if entry.usage != NOTHING:
        found["gen_ai.usage.input_tokens"] = entry.usage.input_tokens
        found["gen_ai.usage.output_tokens"] = entry.usage.output_tokens
        found["gen_ai.usage.cache_read.input_tokens"] = entry.usage.cached_tokens
        found["galena.usage_guessed"] = entry.guessed
    if entry.cost is not None:
        found["galena.cost_usd"] = float(entry.cost)
    return found


def _message(role: str, text: str) -> str:
    """As the conventions write messages in an attribute."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _only(request: "PreparedRequest", login: str) -> "PreparedRequest":
    """The request with the headers that describe its body, and this login."""
    for name in [name for name in request.headers if not name.lower().startswith("content-")]:
        del request.headers[name]
    request.headers["Authorization"] = login
    return request


def _langfuse() -> tuple[str, str] | None:
    """Where Langfuse takes OTLP, and how one logs in there."""
    host, public, secret = (os.environ.get(name, "") for name in LANGFUSE)
    if not (host or public or secret):
        return None
    if missing := [name for name in LANGFUSE if not os.environ.get(name)]:
        raise ConfigurationError(
            f"{' and '.join(missing)} is missing; Langfuse needs {', '.join(LANGFUSE)}: set them"
            " all where Galena runs, or none."
        )
    login = base64.b64encode(f"{public}:{secret}".encode()).decode()
    return f"{host.rstrip('/')}/api/public/otel/v1/traces", f"Basic {login}"
