"""What leaves the process by telemetry: to a real receiver, by the standard's names."""

import base64
import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import REGISTRY, generate_latest

from ai import metrics, telemetry
from ai.calls import Call, Usage
from ai.errors import ConfigurationError
from ai.stores import Entry

PROMPT, ANSWER, SECRET = "Who is Ann Smith?", "Ann Smith is a customer.", "sk-lf-a-secret"
CALL = Call("acme", "insights", prompt="answer", prompt_version="abc123")
VARIABLES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_SAMPLER",
    telemetry.CONTENTS,
    *telemetry.LANGFUSE,
)


@dataclass
class Receiver:
    """A web server that takes spans by OTLP over HTTP."""

    port: int = 0
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for _path, _head, body in self.got]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                named = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((self.path, named, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self.port = server.server_port
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    telemetry.shutdown()


def _entry(outcome: Any = "answered", **more: Any) -> Entry:
    values: dict[str, Any] = {
        "at": datetime(2026, 11, 21, tzinfo=UTC),
        "candidate": "fast",
        "provider": "google",
        "model": "gemini-2.5-flash",
        "outcome": outcome,
        "usage": Usage(100, 20, 40),
        "cost": Decimal("0.25"),
        "seconds": 0.5,
    }
    return Entry(**values | more)


def _make_call(*entries: Entry) -> None:
    with telemetry.call(CALL) as observed:
        for entry in entries:
            observed.note(entry)
        observed.found("injection", 2)
        observed.show(PROMPT, ANSWER)


def _attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_spans_have_the_names_of_the_standard(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    telemetry.configure()
    _make_call(_entry("failed", usage=Usage(), cost=Decimal(0), error="overloaded"), _entry())
    telemetry.shutdown()

    assert {path for path, _headers, _body in receiver.got} == {"/v1/traces"}
    failed, answered, whole = receiver.spans
    assert (whole.name, answered.name) == ("call insights", "chat gemini-2.5-flash")
    assert answered.kind == Span.SPAN_KIND_CLIENT
    assert failed.parent_span_id == answered.parent_span_id == whole.span_id
    assert answered.end_time_unix_nano - answered.start_time_unix_nano == 500_000_000
    assert _attributes(answered) == {
        "galena.tenant": "acme",
        "galena.feature": "insights",
        "gen_ai.prompt.name": "answer",
        "galena.prompt_version": "abc123",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-2.5-flash",
        "galena.candidate": "fast",
        "galena.outcome": "answered",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "galena.usage_guessed": False,
        "galena.cost_usd": 0.25,
    }
    assert _attributes(failed)["error.type"] == "overloaded"
    assert "gen_ai.usage.input_tokens" not in _attributes(failed)
    assert _attributes(whole)["galena.outcome"] == "answered"
    assert _attributes(whole)["galena.guard.injection"] == 2


def test_contents_leave_only_where_they_are_asked_for(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    telemetry.configure()
    _make_call(_entry())
    with pytest.raises(ValueError, match="Ann"), telemetry.call(CALL):
        raise ValueError(PROMPT)
    telemetry.shutdown()
    sent = b"".join(body for _path, _headers, body in receiver.got)
    assert b"acme" in sent
    assert b"ValueError" in sent
    assert b"Ann" not in sent

    monkeypatch.setenv(telemetry.CONTENTS, "true")
    telemetry.configure()
    _make_call(_entry())
    telemetry.shutdown()
    shown = _attributes(receiver.spans[-1])
    assert json.loads(shown["gen_ai.input.messages"])[0]["parts"][0]["content"] == PROMPT
    assert json.loads(shown["gen_ai.output.messages"])[0]["role"] == "assistant"


def test_langfuse_gets_spans_with_its_login_and_with_nobody_elses(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver().listening() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-collector-key=of-the-collector,authorization=Bearer%20theirs",
        )
        monkeypatch.setenv("LANGFUSE_HOST", receiver.url + "/")
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
        telemetry.configure()
        _make_call(_entry())
        telemetry.shutdown()
        (path, headers, body), (_path, others, other_body) = receiver.got[0], collector.got[0]
    assert path == "/api/public/otel/v1/traces"
    login = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()
    assert login == f"pk-lf-1:{SECRET}"
    assert "x-collector-key" not in headers
    assert others["x-collector-key"] == "of-the-collector"
    assert others["authorization"] == "Bearer theirs"
    assert SECRET.encode() not in body + other_body
    assert len(receiver.spans) == 2


def test_half_of_langfuse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
    with pytest.raises(ConfigurationError) as raised:
        telemetry.configure()
    assert "LANGFUSE_HOST and LANGFUSE_PUBLIC_KEY is missing" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "always_off")]
)
def test_what_is_turned_off_sends_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv(variable, value)
    telemetry.configure()
    _make_call(_entry())
    telemetry.shutdown()
    assert receiver.spans == []


def test_without_a_receiver_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys; from ai import telemetry; from ai.calls import Call; telemetry.configure()\n"
        "with telemetry.call(Call('acme', 'insights')) as observed: observed.show('a', 'b')\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_library_that_traces_itself_finds_no_exporter(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of the providers' libraries do, and can be told to trace contents."""
    from opentelemetry import trace

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    telemetry.configure()
    with trace.get_tracer("a library").start_as_current_span(PROMPT):
        pass
    telemetry.shutdown()
    assert receiver.got == []


def _sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_prometheus_counts_requests_tokens_and_money() -> None:
    place = {"feature": "counted", "provider": "google", "model": "gemini-2.5-flash"}
    call = Call("acme", "counted")
    with telemetry.call(call) as observed:
        observed.note(_entry("failed", usage=Usage(), cost=Decimal(0)))
        observed.note(_entry())
        observed.found("pii", 3)
    with telemetry.call(call) as observed:
        observed.note(_entry("hit", usage=Usage(), cost=Decimal(0), saved=Usage(70, 7)), "similar")
    with suppress(ValueError), telemetry.call(call) as observed:
        observed.note(_entry(cost=None))
        raise ValueError("wrong")
    assert _sample("galena_llm_attempts_total", **place, outcome="answered") == 2
    assert _sample("galena_llm_attempts_total", **place, outcome="failed") == 1
    tokens = {
        kind: _sample("galena_llm_tokens_total", **place, kind=kind)
        for kind in ("input", "cached", "output")
    }
    assert tokens == {"input": 120, "cached": 80, "output": 40}
    assert _sample("galena_llm_cost_usd_total", **place) == 0.25
    assert _sample("galena_llm_unpriced_total", **place) == 1
    assert _sample("galena_llm_cache_hits_total", feature="counted", tier="similar") == 1
    assert _sample("galena_llm_saved_tokens_total", feature="counted") == 77
    assert _sample("galena_llm_guard_findings_total", feature="counted", guard="pii") == 3
    ended = {
        outcome: _sample("galena_llm_calls_total", feature="counted", outcome=outcome)
        for outcome in ("answered", "hit", "failed")
    }
    assert ended == {"answered": 1, "hit": 1, "failed": 1}
    assert _sample("galena_llm_call_seconds_count", feature="counted") == 3


def test_no_tenant_is_a_label() -> None:
    with telemetry.call(Call("a-tenant-of-thousands", "insights")) as observed:
        observed.note(_entry())
    assert b"a-tenant-of-thousands" not in generate_latest(REGISTRY)


def test_the_state_of_breakers_is_read_when_it_is_asked_for() -> None:
    from ai.candidates import Condition

    state: Any = "closed"
    metrics.watch(lambda: {"fast": Condition(state, 3, None, 0, 0, 0)})
    try:
        assert _sample("galena_llm_breaker_state", candidate="fast") == 0
        assert _sample("galena_llm_in_flight", candidate="fast") == 3
        state = "open"
        assert _sample("galena_llm_breaker_state", candidate="fast") == 2
    finally:
        metrics.watch(dict)
