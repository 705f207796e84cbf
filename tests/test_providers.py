"""Each provider through its real library against a real server: answers, streams, usage, tools,
structured output, and what each failure is called."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessageChunk
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from ai.configuration import Candidate, ProviderName
from ai.failures import BrokenOffError, classify
from ai.fake_provider.script import Fault, Kind, Script, ToolCall
from ai.providers.building import build
from tests.providers import most_waiting, requests_to, running_provider, set_faults

KEY = "sk-a-key-that-nobody-may-see"
MODELS: dict[ProviderName, str] = {
    "openai": "gpt-5-mini",
    "anthropic": "claude-sonnet-4-6",
    "google": "gemini-2.5-flash",
    "compatible": "local-model",
}
PROMPT = "Which of our customers has not written for the longest time, and what did we promise?"
SECONDS = 0.5


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    script = Script(
        api_key=KEY,
        cached_share=0.5,
        canned={"look it up": ToolCall(tool="Person", arguments={"name": "Ann", "age": 7})},
    )
    with running_provider(script) as found:
        yield found


@pytest.fixture(autouse=True)
def no_faults(url: str) -> None:
    set_faults(url)


@pytest.fixture(params=MODELS)
def provider(request: pytest.FixtureRequest) -> ProviderName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def model(url: str, provider: ProviderName) -> BaseChatModel:
    return _model(provider, url)


def _model(
    provider: ProviderName, url: str, *, key: str = KEY, seconds: float = SECONDS
) -> BaseChatModel:
    candidate = Candidate(
        provider=provider, model=MODELS[provider], key_variable="A_KEY", base_url=url
    )
    return build(candidate, {"A_KEY": key}, output_tokens=100, seconds=seconds)


def _error(ask: Callable[[], object]) -> Exception:
    """What the library raises, of whatever class that is."""
    try:
        ask()
    except Exception as error:
        return error
    pytest.fail("there is an answer")


def _streamed(model: BaseChatModel) -> BaseMessageChunk:
    async def collect() -> BaseMessageChunk:
        whole: BaseMessageChunk | None = None
        async for chunk in model.astream(PROMPT):
            whole = chunk if whole is None else whole + chunk
        assert whole is not None
        return whole

    return asyncio.run(collect())


# The three ways in which the rest of the project asks.
WAYS: dict[str, Callable[[BaseChatModel], Any]] = {
    "invoke": lambda model: model.invoke(PROMPT),
    "ainvoke": lambda model: asyncio.run(model.ainvoke(PROMPT)),
    "astream": _streamed,
}


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_and_what_it_used(model: BaseChatModel, way: str, url: str) -> None:
    before = len(requests_to(url))
    answer = WAYS[way](model)
    tokens = -(-len(PROMPT) // 4)
    assert answer.text == PROMPT
    assert answer.usage_metadata["input_tokens"] == tokens
    assert answer.usage_metadata["output_tokens"] == tokens
    assert answer.usage_metadata["input_token_details"]["cache_read"] == tokens // 2
    metadata = answer.response_metadata
    ending = metadata.get("finish_reason") or metadata["stop_reason"]
    assert ending.lower() in ("stop", "end_turn")
    assert len(requests_to(url)) == before + 1


def test_a_stream_comes_in_pieces(model: BaseChatModel) -> None:
    pieces = [chunk.text for chunk in model.stream(PROMPT) if chunk.text]
    assert len(pieces) > 2
    assert "".join(pieces) == PROMPT


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_structured_output(model: BaseChatModel, method: str) -> None:
    found = model.with_structured_output(Person, method=method).invoke(PROMPT)
    assert found == Person(name=PROMPT, age=0)


def test_a_tool_is_called(model: BaseChatModel) -> None:
    bound = model.bind_tools([Person])
    for answer in (bound.invoke("look it up"), _sum(bound.stream("look it up"))):
        (call,) = answer.tool_calls
        assert (call["name"], call["args"]) == ("Person", {"name": "Ann", "age": 7})
    assert bound.invoke("no need").text == "no need"


def _sum(chunks: Iterator[Any]) -> AIMessageChunk:
    whole = next(chunks)
    for chunk in chunks:
        whole += chunk
    assert isinstance(whole, AIMessageChunk)
    return whole


def test_the_limit_of_output_is_sent(model: BaseChatModel) -> None:
    answer = model.invoke("word " * 200)
    metadata = answer.response_metadata
    ending = metadata.get("finish_reason") or metadata["stop_reason"]
    assert ending.lower() in ("length", "max_tokens")
    assert len(answer.text) == 400


# Of the fault: the kind of failure, whether to try again, elsewhere, and whether it may be billed.
MEANINGS: dict[Kind, tuple[str, bool, bool, bool]] = {
    "429": ("rate_limited", True, True, False),
    "quota": ("out_of_quota", False, True, False),
    "500": ("unavailable", True, True, False),
    "503": ("overloaded", True, True, False),
    "529": ("overloaded", True, True, False),
    "400": ("context_too_long", False, True, False),
    "401": ("refused_key", False, True, False),
    "hang": ("timed_out", True, True, True),
    "broken": ("broken_stream", True, True, True),
    "cut": ("broken_stream", True, True, True),
    "malformed": ("malformed", True, True, True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MEANINGS)
def test_what_a_failure_is_called_after_one_request(
    model: BaseChatModel, url: str, kind: Kind, way: str
) -> None:
    set_faults(url, Fault(kind=kind))
    before = len(requests_to(url))
    error = _error(lambda: WAYS[way](model))
    assert len(requests_to(url)) == before + 1
    found = classify(error)
    assert (found.kind, found.retryable, found.elsewhere, found.billed) == MEANINGS[kind]
    assert KEY not in found.message
    assert "customers" not in found.message


def test_an_error_in_the_middle_of_a_stream(model: BaseChatModel, url: str) -> None:
    set_faults(url, Fault(kind="stream_error"))
    error = _error(lambda: _streamed(model))
    found = classify(error)
    assert found.kind in ("overloaded", "unavailable")
    assert found.retryable
    assert found.billed


@pytest.mark.parametrize("way", ["invoke", "astream"])
def test_nobody_listens(provider: ProviderName, way: str) -> None:
    with running_provider() as gone:
        pass
    error = _error(lambda: WAYS[way](_model(provider, gone)))
    found = classify(error)
    assert (found.kind, found.retryable, found.billed) == ("unavailable", True, False)


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
def test_how_long_to_wait(model: BaseChatModel, url: str, form: Any) -> None:
    set_faults(url, Fault(kind="429", retry_after=40, retry_after_as=form))
    error = _error(lambda: model.invoke(PROMPT))
    waited = classify(error).retry_after
    assert waited is not None
    # A date has whole seconds, as has the Date that it is held against.
    assert 40 <= waited <= (43 if form == "date" else 40)
    if form == "date":
        later = classify(error, now=datetime.now(UTC) + timedelta(hours=1)).retry_after
        assert later == 0


def test_how_long_to_wait_as_google_writes_it(url: str) -> None:
    set_faults(url, Fault(kind="429", retry_after=12.5, retry_after_as="body"))
    model = _model("google", url)
    for ask in (lambda: model.invoke(PROMPT), lambda: _streamed(model)):
        assert classify(_error(ask)).retry_after == 12.5


def test_no_wait_is_asked_for(model: BaseChatModel, url: str) -> None:
    set_faults(url, Fault(kind="429"))
    error = _error(lambda: model.invoke(PROMPT))
    assert classify(error).retry_after is None


def test_a_wrong_key_is_refused_and_shown_nowhere(
    provider: ProviderName, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "sk-another-key-that-nobody-may-see"
    model = _model(provider, url, key=wrong)
    with caplog.at_level(logging.DEBUG):
        error: BaseException | None = _error(lambda: model.invoke(PROMPT))
    assert error is not None
    found = classify(error)
    assert (found.kind, found.retryable) == ("refused_key", False)
    while error is not None:
        assert wrong not in f"{error!r} {error}"
        error = error.__cause__
    assert wrong not in repr(model)
    assert wrong not in caplog.text


def test_what_is_no_failure_of_a_provider_is_unknown() -> None:
    found = classify(RuntimeError(KEY))
    assert (found.kind, found.retryable, found.billed) == ("unknown", False, True)
    assert KEY not in found.message
    assert classify(BrokenOffError()).kind == "broken_stream"
    assert classify(TimeoutError()).kind == "timed_out"


def test_one_model_in_several_event_loops(model: BaseChatModel) -> None:
    """A connection kept from a loop that has ended is not taken up by the next."""
    for _ in range(3):
        assert asyncio.run(model.ainvoke(PROMPT)).text == PROMPT


def test_a_redirect_is_not_followed(provider: ProviderName, url: str) -> None:
    """The prompt, and with some clients the key, would go to a host that nobody configured."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Redirecting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(307)
            self.send_header("location", url + self.path)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    before = len(requests_to(url))
    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        model = _model(provider, f"http://127.0.0.1:{server.server_port}")
        try:
            _error(lambda: model.invoke(PROMPT))
        finally:
            server.shutdown()
            thread.join()
    assert len(requests_to(url)) == before


def test_no_trace_id_is_sent_along(model: BaseChatModel, url: str) -> None:
    """Some libraries trace themselves, and tell the provider which span of ours it was."""
    tracer = TracerProvider().get_tracer("ours")
    with tracer.start_as_current_span("a call"):
        model.invoke(PROMPT)
    assert "traceparent" not in requests_to(url)[-1]["headers"]


def test_many_calls_at_once(provider: ProviderName) -> None:
    async def ask(model: BaseChatModel) -> list[str]:
        answers = await asyncio.gather(*(model.ainvoke(f"question {n}") for n in range(200)))
        return [answer.text for answer in answers]

    with running_provider(Script(latency=3)) as found:
        texts = asyncio.run(ask(_model(provider, found, seconds=60)))
        assert most_waiting(found) == 200
    assert texts == [f"question {n}" for n in range(200)]


def test_a_provider_is_imported_when_it_is_used_and_nothing_is_traced() -> None:
    code = (
        "import sys, json; import ai.providers.building, ai.failures;"
        " before = sorted({'openai', 'anthropic', 'google.genai', 'langchain_core'}"
        " & set(sys.modules));"
        " from ai.configuration import Candidate;"
        " candidate = Candidate(provider='compatible', model='m', base_url='http://127.0.0.1:9');"
        " ai.providers.building.build(candidate, {}, output_tokens=1, seconds=1);"
        " from langsmith.utils import tracing_is_enabled;"
        " after = sorted({'openai', 'anthropic', 'google.genai'} & set(sys.modules));"
        " print(json.dumps([before, after, tracing_is_enabled()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], ["openai"], False]
