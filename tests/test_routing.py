"""Calls over several providers: who is asked, when another is, and what is told of it."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypedDict

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import tool
from pydantic import BaseModel

from ai import breaker, quality
from ai.calls import NOTHING, Attempt, Usage
from ai.candidates import ALERT, Pool
from ai.configuration import Configuration
from ai.errors import BudgetExceededError, NoAnswerError, OutOfTimeError
from ai.fake_provider.script import Fault, Kind, Script, ToolCall
from ai.routed_model import RoutedChatModel
from ai.sizes import usage_of
from tests.providers import requests_to, running_provider, set_faults

KEY = "sk-never-shown"
SAID = "Tell me of the Żółw account, which nobody else may read of"
SCRIPT = Script(
    canned={
        "weather": ToolCall(tool="weather_in", arguments={"city": "Łódź"}),
        "It rains in Łódź": "Take an umbrella.",
    }
)


@dataclass
class Recorder:
    """A meter that admits whatever is not refused, and keeps what it is told."""

    refused: dict[str, BudgetExceededError] = field(default_factory=dict)
    admitted: list[tuple[str, Usage]] = field(default_factory=list)
    settled: list[tuple[str, Attempt]] = field(default_factory=list)
    slow: asyncio.Event | None = None
    # Done in the same tick of the event loop in which something has been set aside.
    at_admission: Callable[[], object] | None = None

    async def admit(self, candidate: str, provider: str, model: str, most: Usage) -> str:
        assert provider
        assert model
        if self.slow is not None:
            await self.slow.wait()
        if candidate in self.refused:
            raise self.refused[candidate]
        self.admitted.append((candidate, most))
        if self.at_admission is not None:
            asyncio.get_running_loop().call_soon(self.at_admission)
        return f"reservation {len(self.admitted)}"

    async def settle(self, reservation_id: str, attempt: Attempt) -> None:
        await asyncio.sleep(0)
        self.settled.append((reservation_id, attempt))

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        assert [name for name, _ in self.settled] == [
            f"reservation {number}" for number in range(1, len(self.admitted) + 1)
        ], "each reservation is settled, once"
        return [(one.candidate, one.outcome, one.error) for _, one in self.settled]


@dataclass
class World:
    """Two servers, a pool over them, and a clock that can be put forward."""

    first: str
    second: str
    meter: Recorder = field(default_factory=Recorder)
    ahead: float = 0.0
    alerts: "Alerts | None" = None

    def configuration(self, **feature: Any) -> Configuration:
        candidates: dict[str, dict[str, Any]] = {
            "small": {"provider": "openai", "model": "gpt-5-mini", "base_url": f"{self.first}/v1"},
            "large": {"provider": "anthropic", "model": "claude-opus-4-1", "base_url": self.second},
            "flash": {
                "provider": "google",
                "model": "gemini-2.5-flash",
                "base_url": self.second,
                "context_tokens": 1_000_000,
            },
        }
        for one in candidates.values():
            one["key_variable"] = "KEY"
        candidates["own"] = {
            "provider": "compatible",
            "model": "qwen",
            "base_url": f"{self.second}/v1",
            "context_tokens": 2_000,
        }
        candidates["extract"] = {"provider": "offline", "model": "extractive-1"}
        feature = {"candidates": ["small", "large"], "seconds": 10, **feature}
        return Configuration.model_validate(
            {"candidates": candidates, "features": {"default": feature}}
        )

    def model(self, pool: Pool | None = None, **feature: Any) -> RoutedChatModel:
        configuration = self.configuration(**feature)
        return RoutedChatModel(
            tenant_id="acme",
            candidates=pool or self.pool(),
            feature=configuration.feature("insights"),
            feature_name="insights",
            meter=self.meter,
            rng=random.Random(1),
        )

    def pool(self) -> Pool:
        return Pool(
            self.configuration(),
            {"KEY": KEY},
            lambda: datetime(2026, 11, 21, tzinfo=UTC),
            self.alerts,
            timer=lambda: time.monotonic() + self.ahead,
        )

    def asked(self) -> tuple[int, int]:
        return len(requests_to(self.first)), len(requests_to(self.second))


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    script = SCRIPT.model_copy(update={"keep": 100_000})
    with running_provider(script) as first, running_provider(script) as second:
        yield first, second


@pytest.fixture
def world(servers: tuple[str, str]) -> World:
    for server in servers:
        set_faults(server)
    return World(*servers)


def _told(message: AIMessage) -> dict[str, Any]:
    return dict(message.response_metadata["galena"])


def test_the_preferred_candidate_answers_and_says_so(world: World) -> None:
    said = world.model().invoke(SAID)
    assert said.text == SAID
    told = _told(said)
    assert told.pop("seconds") > 0
    assert told == {
        "candidate": "small",
        "provider": "openai",
        "model": "gpt-5-mini",
        "attempts": 1,
        "offline": False,
        "fallback": False,
    }
    ((_, attempt),) = world.meter.settled
    ((_, most),) = world.meter.admitted
    assert attempt.outcome == "answered"
    assert attempt.usage is not None
    assert 0 < attempt.usage.input_tokens <= most.input_tokens
    assert most.output_tokens == 1_024


@pytest.mark.parametrize(
    "kind", ["500", "503", "529", "429", "broken", "cut", "malformed", "401", "quota"]
)
def test_another_candidate_answers_for_one_that_fails(world: World, kind: Kind) -> None:
    set_faults(world.first, Fault(kind=kind))
    model = world.model(attempts=2)
    assert _told(model.invoke(SAID))["candidate"] == "large"
    *failed, answered = world.meter.outcomes
    assert answered == ("large", "answered", "")
    assert {(name, error == "") for name, _, error in failed} == {("small", False)}
    final = kind in ("401", "quota")
    assert len(failed) == (1 if final else 2), "what cannot pass is not tried again"
    billed = {outcome == "unclear" for _, outcome, _ in failed}
    assert billed == {kind in ("broken", "cut", "malformed")}


def test_a_candidate_that_recovers_is_not_left(world: World) -> None:
    set_faults(world.first, Fault(kind="500", times=2))
    told = _told(world.model().invoke(SAID))
    assert (told["candidate"], told["attempts"]) == ("small", 3)


def test_one_that_hangs_leaves_time_for_the_next(world: World) -> None:
    set_faults(world.first, Fault(kind="hang"))
    assert _told(world.model(seconds=1).invoke(SAID))["candidate"] == "large"
    assert world.meter.outcomes == [
        ("small", "unclear", "timed_out"),
        ("large", "answered", ""),
    ]


def test_a_short_retry_after_is_waited_for(world: World) -> None:
    set_faults(world.first, Fault(kind="429", times=1, retry_after=0.4))
    before = time.monotonic()
    assert _told(world.model().invoke(SAID))["candidate"] == "small"
    assert time.monotonic() - before >= 0.4


def test_after_a_long_one_nobody_asks_until_it_is_over(world: World) -> None:
    set_faults(world.first, Fault(kind="429", times=1, retry_after=30))
    pool, (before, _) = world.pool(), world.asked()
    for _ in range(3):
        assert _told(world.model(pool).invoke(SAID))["candidate"] == "large"
    assert world.asked()[0] == before + 1
    world.ahead = 31
    assert _told(world.model(pool).invoke(SAID))["candidate"] == "small"


def test_a_retry_after_beyond_the_time_budget_is_not_slept_through(world: World) -> None:
    set_faults(world.first, Fault(kind="429", retry_after=30))
    before = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"small \(rate_limited\)"):
        world.model(candidates=["small"], seconds=20).invoke(SAID)
    assert time.monotonic() - before < 15


def test_a_wrong_request_is_sent_nowhere_else(world: World) -> None:
    _, before = world.asked()
    wrong = world.model(fallback="Later.").bind(extra_body={"messages": "none"})
    with pytest.raises(NoAnswerError, match="small refused the request"):
        wrong.invoke(SAID)
    assert world.meter.outcomes == [("small", "failed", "bad_request")]
    assert world.asked()[1] == before


def test_what_one_providers_filter_withholds_is_not_taken_to_the_next(world: World) -> None:
    set_faults(world.first, Fault(kind="filtered"))
    _, before = world.asked()
    with pytest.raises(NoAnswerError, match="content filter"):
        world.model().invoke(SAID)
    with pytest.raises(NoAnswerError, match="content filter"):
        list(world.model().stream(SAID))
    assert world.asked()[1] == before


@pytest.mark.parametrize("name", ["small", "large", "flash"])
def test_what_a_filter_withholds_costs_what_the_provider_counted(world: World, name: str) -> None:
    for url in (world.first, world.second):
        set_faults(url, Fault(kind="filtered"))
    with pytest.raises(NoAnswerError, match="content filter"):
        world.model(candidates=[name]).invoke(SAID)
    ((_, attempt),) = world.meter.settled
    assert attempt.error == "content_filtered"
    assert attempt.usage is not None
    assert attempt.usage.input_tokens > 0


def test_what_is_too_long_goes_where_there_is_room(world: World) -> None:
    set_faults(world.first, Fault(kind="400"))
    model = world.model(candidates=["small", "own", "large", "flash"])
    assert _told(model.invoke(SAID))["candidate"] == "flash"
    assert [name for name, _, _ in world.meter.outcomes] == ["small", "flash"]


def test_a_candidate_without_room_is_not_asked(world: World) -> None:
    model = world.model(candidates=["own", "large"])
    assert _told(model.invoke("word " * 2_000))["candidate"] == "large"
    assert _told(model.invoke("word"))["candidate"] == "own"


def _pieces(model: RoutedChatModel) -> Iterator[str]:
    for chunk in model.stream(SAID):
        if chunk.text:
            yield str(chunk.text)


@pytest.mark.parametrize("kind", ["500", "429", "broken", "hang", "401"])
def test_a_stream_that_breaks_before_its_first_words_comes_from_another(
    world: World, kind: Kind
) -> None:
    set_faults(world.first, Fault(kind=kind))
    model = world.model(seconds=2)
    whole = None
    for chunk in model.stream(SAID):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.text == SAID
    assert whole.response_metadata["galena"]["candidate"] == "large"
    assert world.meter.outcomes[-1] == ("large", "answered", "")


@pytest.mark.parametrize("kind", ["cut", "stream_error", "malformed"])
@pytest.mark.parametrize("name", ["small", "large", "flash"])
def test_a_stream_that_breaks_after_its_first_words_fails(
    world: World, kind: Kind, name: str
) -> None:
    first, second = (world.first, world.second) if name == "small" else (world.second, world.first)
    set_faults(first, Fault(kind=kind))
    others = ["large", "flash"] if name == "small" else ["small"]
    before = len(requests_to(second))
    got: list[str] = []
    pieces = _pieces(world.model(candidates=[name, *others], fallback="Later."))
    with pytest.raises(NoAnswerError, match=f"answer of {name} broke off"):
        got.extend(pieces)
    assert SAID.startswith("".join(got))
    assert len(requests_to(second)) == before, "no second answer after half a first one"
    assert [outcome for _, outcome, _ in world.meter.outcomes] == ["unclear"]


def test_a_silence_in_the_middle_of_a_stream_is_a_timeout(world: World) -> None:
    with running_provider(Script(chunk_seconds=1.4)) as slow:
        world.first = slow
        pieces = _pieces(world.model(candidates=["small"], seconds=2, fallback="Later."))
        assert SAID.startswith(next(pieces))
        with pytest.raises(NoAnswerError, match="did not answer in time"):
            next(pieces)
    assert world.meter.outcomes == [("small", "unclear", "timed_out")]


def test_whoever_stops_reading_a_stream_has_it_settled(world: World) -> None:
    pieces = _pieces(world.model())
    assert SAID.startswith(next(pieces))
    pieces.close()  # type: ignore[attr-defined]
    assert world.meter.outcomes == [("small", "unclear", "cancelled")]


def test_when_all_fail_the_error_names_them_and_no_content(world: World) -> None:
    set_faults(world.first, Fault(kind="500"))
    set_faults(world.second, Fault(kind="529"))
    with pytest.raises(NoAnswerError) as raised:
        world.model(attempts=1).invoke(SAID)
    said = str(raised.value)
    assert "small (unavailable), large (overloaded)" in said
    assert "Żółw" not in said
    assert KEY not in said + repr(world.model())


def test_at_the_end_stands_the_stated_answer_and_says_that_it_is_that(world: World) -> None:
    set_faults(world.first, Fault(kind="500"))
    set_faults(world.second, Fault(kind="500"))
    model = world.model(attempts=1, fallback="Later.")
    said = model.invoke(SAID)
    assert said.text == "Later."
    assert _told(said)["fallback"] is True
    assert _told(said)["candidate"] == ""
    assert "".join(_pieces(world.model(attempts=1, fallback="Later."))) == "Later."
    world.meter.outcomes  # noqa: B018


def test_the_time_budget_ends_a_call(world: World) -> None:
    set_faults(world.first, Fault(kind="hang"))
    set_faults(world.second, Fault(kind="hang"))
    with pytest.raises(OutOfTimeError, match=r"within 0\.5 s"):
        world.model(seconds=0.5).invoke(SAID)
    assert [name for name, _, _ in world.meter.outcomes] == ["small", "large"]


def test_one_that_is_known_to_fail_is_spared_until_a_probe_is_good(world: World) -> None:
    set_faults(world.first, Fault(kind="500"))
    pool = world.pool()
    for _ in range(breaker.FEWEST):
        world.model(pool).invoke(SAID)
    assert pool.report()["small"].breaker == "open"
    before = world.asked()[0]
    for _ in range(20):
        world.model(pool).invoke(SAID)
    assert world.asked()[0] == before
    world.ahead += breaker.OPEN_SECONDS
    world.model(pool).invoke(SAID)
    assert world.asked()[0] == before + 1, "a probe"
    assert pool.report()["small"].breaker == "open"
    set_faults(world.first)
    world.ahead += breaker.OPEN_SECONDS
    assert _told(world.model(pool).invoke(SAID))["candidate"] == "small"
    assert pool.report()["small"].breaker == "closed"


def test_when_all_are_known_to_fail_nobody_waits(world: World) -> None:
    set_faults(world.first, Fault(kind="500"))
    pool = world.pool()
    for _ in range(breaker.FEWEST):
        with pytest.raises(NoAnswerError):
            world.model(pool, candidates=["small"]).invoke(SAID)
    before = world.asked()
    with pytest.raises(NoAnswerError, match=r"small \(known to fail\)"):
        world.model(pool, candidates=["small"]).invoke(SAID)
    assert world.asked() == before


def test_a_tenants_wrong_requests_close_no_provider_to_the_others(world: World) -> None:
    pool = world.pool()
    wrong = world.model(pool).bind(extra_body={"messages": "none"})
    for _ in range(2 * breaker.WINDOW):
        with pytest.raises(NoAnswerError):
            wrong.invoke(SAID)
    assert pool.report()["small"].breaker == "closed"


def _refused(*, cheaper: bool) -> BudgetExceededError:
    return BudgetExceededError("The budget of acme is used up.", cheaper=cheaper)


def test_at_the_budgets_limit_a_cheaper_candidate_is_tried(world: World) -> None:
    world.meter.refused = {"large": _refused(cheaper=True)}
    model = world.model(candidates=["large", "own", "flash"])
    assert _told(model.invoke(SAID))["candidate"] == "flash", "what own costs is not known"
    assert _told(model.invoke(SAID))["attempts"] == 1


@pytest.mark.parametrize(
    ("cheaper", "candidates"), [(False, ["large", "flash"]), (True, ["flash", "large"])]
)
def test_a_budget_without_room_is_a_refusal(
    world: World, cheaper: bool, candidates: list[str]
) -> None:
    world.meter.refused = {
        name: _refused(cheaper=cheaper if name == candidates[0] else False) for name in candidates
    }
    before = world.asked()
    with pytest.raises(BudgetExceededError, match="used up"):
        world.model(candidates=candidates, fallback="Later.").invoke(SAID)
    assert world.asked() == before


def test_a_call_that_is_cancelled_is_settled(world: World) -> None:
    set_faults(world.first, Fault(kind="hang"))

    async def cancelled() -> None:
        call = asyncio.create_task(world.model().ainvoke(SAID))
        while not world.meter.admitted:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancelled())
    assert world.meter.outcomes == [("small", "unclear", "cancelled")]


def test_what_is_set_aside_for_a_call_that_is_gone_is_given_back(world: World) -> None:
    async def cancelled() -> None:
        world.meter.slow = asyncio.Event()
        pool = world.pool()
        call = asyncio.create_task(world.model(pool).ainvoke(SAID))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        world.meter.slow.set()
        while not world.meter.settled:
            await asyncio.sleep(0.01)
        assert pool.report()["small"].in_flight == 0

    before = world.asked()
    asyncio.run(cancelled())
    assert world.meter.outcomes == [("small", "failed", "cancelled")]
    assert world.asked() == before


def test_nor_is_it_kept_when_the_call_goes_in_the_same_moment(world: World) -> None:
    async def cancelled() -> None:
        call = asyncio.create_task(world.model().ainvoke(SAID))
        world.meter.at_admission = call.cancel
        with pytest.raises(asyncio.CancelledError):
            await call

    before = world.asked()
    asyncio.run(cancelled())
    assert world.meter.outcomes == [("small", "failed", "cancelled")]
    assert world.asked() == before


class HttpError(Exception):
    """What a handler of a web framework may be in the middle of."""

    status_code = 400


@pytest.mark.parametrize(
    ("kind", "streaming"),
    [("broken", False), ("malformed", False), ("hang", False), ("broken", True), ("hang", True)],
)
def test_what_the_caller_is_handling_is_no_failure_of_a_provider(
    world: World, kind: Kind, streaming: bool
) -> None:
    set_faults(world.first, Fault(kind=kind))

    async def call() -> AIMessage:
        model = world.model(attempts=1, seconds=2)
        try:
            raise HttpError
        except HttpError:
            return await (_summed(model) if streaming else model.answer([HumanMessage(SAID)]))

    assert _told(asyncio.run(call()))["candidate"] == "large"


def test_nor_is_what_the_reader_of_a_stream_is_handling(world: World) -> None:
    async def call() -> None:
        pieces = world.model(candidates=["small"]).pieces([HumanMessage(SAID)])
        await anext(pieces)
        try:
            raise HttpError
        except HttpError:
            async for _piece in pieces:
                pass

    set_faults(world.first, Fault(kind="cut"))
    with pytest.raises(NoAnswerError, match="connection ended"):
        asyncio.run(call())
    assert world.meter.outcomes == [("small", "unclear", "broken_stream")]


async def _summed(model: RoutedChatModel, **options: Any) -> AIMessage:
    whole: AIMessageChunk | None = None
    async for piece in model.pieces([HumanMessage(SAID)], **options):
        whole = piece if whole is None else whole + piece
    assert whole is not None
    return whole


@contextmanager
def _answering(status: int, said: Callable[[str, str], dict[str, Any]]) -> Iterator[str]:
    """The URL of a server that answers so to a body and a key."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            body = json.dumps(said(asked, self.headers.get("Authorization", ""))).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        yield from _chain(error.__cause__)
        yield from _chain(error.__context__)


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("refused", [False, True])
def test_no_error_carries_what_a_provider_repeats(
    world: World, status: int, streaming: bool, refused: bool
) -> None:
    def repeating(asked: str, key: str) -> dict[str, Any]:
        return {"error": {"message": f"{asked} of {key}", "type": "invalid_request_error"}}

    async def call() -> None:
        model = world.model(candidates=["small", "large"], attempts=1)
        await (_summed(model) if streaming else model.answer([HumanMessage("the umbrella")]))

    if refused:
        world.meter.refused = {"large": _refused(cheaper=False)}
    with _answering(status, repeating) as url:
        world.first = url
        set_faults(world.second, Fault(kind="500"))
        with pytest.raises((NoAnswerError, BudgetExceededError)) as raised:
            asyncio.run(call())
    assert world.meter.outcomes[0][0] == "small"
    assert raised.value.__context__ is None, "nothing is said to have happened before"
    for error in _chain(raised.value):
        said = f"{error} {error!r} {vars(error)}"
        assert "umbrella" not in said
        assert KEY not in said


def test_a_refusal_of_the_input_is_not_taken_to_the_next(world: World) -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "gemini"}
    before = len(requests_to(world.first))
    with _answering(200, lambda _asked, _key: blocked) as url:
        world.second = url
        with pytest.raises(NoAnswerError, match="content filter"):
            world.model(candidates=["flash", "small"]).invoke(SAID)
    assert len(requests_to(world.first)) == before
    assert world.meter.outcomes == [("flash", "unclear", "content_filtered")]


def test_nothing_at_all_is_no_answer(world: World) -> None:
    empty: dict[str, Any] = {"candidates": [], "modelVersion": "gemini"}
    with _answering(200, lambda _asked, _key: empty) as url:
        world.second = url
        said = world.model(candidates=["flash", "small"], attempts=1).invoke(SAID)
    assert _told(said)["candidate"] == "small"
    assert world.meter.outcomes[0] == ("flash", "unclear", "broken_stream")


def test_what_nobody_counted_is_not_taken_for_nothing(world: World) -> None:
    message = {"role": "assistant", "content": "Yes."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    uncounted = {"id": "1", "object": "chat.completion", "created": 1, "model": "qwen"}
    with _answering(200, lambda _asked, _key: {**uncounted, "choices": [choice]}) as url:
        world.second = url
        assert world.model(candidates=["own"]).invoke(SAID).text == "Yes."
    ((_, attempt),) = world.meter.settled
    assert (attempt.outcome, attempt.usage) == ("answered", None)


ENDINGS = {"small": "stop", "large": "end_turn", "flash": "stop", "own": "stop"}


def _ending(message: AIMessage) -> str:
    told = message.response_metadata
    return str(told.get("finish_reason") or told.get("stop_reason")).lower()


@pytest.mark.parametrize("name", ENDINGS)
def test_each_answer_says_how_it_ended(world: World, name: str) -> None:
    model = world.model(candidates=[name])
    assert _ending(asyncio.run(model.answer([HumanMessage(SAID)]))) == ENDINGS[name]
    assert _ending(asyncio.run(_summed(model))) == ENDINGS[name]
    assert _ending(model.invoke(SAID)) == ENDINGS[name]
    for url in (world.first, world.second):
        set_faults(url, Fault(kind="length"))
    assert _ending(asyncio.run(model.answer([HumanMessage(SAID)]))) in ("length", "max_tokens")


@pytest.mark.parametrize("name", ENDINGS)
def test_it_is_told_of_tools_also_past_langchains_runs(world: World, name: str) -> None:
    @tool
    def weather_in(city: str) -> str:
        """The weather in a city."""
        return city

    model = world.model(candidates=[name])
    asked = [HumanMessage("How is the weather?")]

    async def answers() -> list[AIMessage]:
        whole: AIMessageChunk | None = None
        async for piece in model.pieces(asked, tools=[weather_in], tool_choice=None):
            whole = piece if whole is None else whole + piece
        assert whole is not None
        return [await model.answer(asked, tools=[weather_in], tool_choice=None), whole]

    for said in asyncio.run(answers()):
        (call,) = said.tool_calls
        assert (call["name"], call["args"]) == ("weather_in", {"city": "Łódź"})


@pytest.mark.parametrize("name", [*ENDINGS, "extract"])
def test_whoever_streams_the_caller_sees_nothing_of_what_is_asked_past_runs(
    world: World, name: str
) -> None:
    """A LangGraph graph hands its callbacks to every run within it."""
    from langgraph.graph import StateGraph

    class State(TypedDict):
        said: list[str]

    async def node(state: State) -> State:  # noqa: ARG001
        model = world.model(candidates=[name])
        whole = await model.answer([HumanMessage(SAID)])
        return {"said": [whole.text, (await _summed(model)).text]}

    graph = StateGraph(State).add_node("node", node).set_entry_point("node").compile()

    async def seen() -> tuple[list[Any], list[Any]]:
        messages = [one async for one in graph.astream({"said": []}, stream_mode="messages")]
        events = [one async for one in graph.astream_events({"said": []}, version="v2")]
        return messages, [one for one in events if "chat_model" in one["event"]]

    assert asyncio.run(seen()) == ([], [])
    assert [outcome for _, outcome, _ in world.meter.outcomes] == ["answered"] * 4


def test_what_a_provider_does_not_count_is_nothing() -> None:
    assert usage_of(None) == NOTHING
    told = UsageMetadata(input_tokens=7, output_tokens=2, total_tokens=9)
    assert usage_of(told) == Usage(7, 2, 0)
    cached: Any = {"cache_read": None}
    assert usage_of({**told, "input_token_details": cached}) == Usage(7, 2, 0)
    assert usage_of({**told, "input_token_details": {"cache_read": 5}}) == Usage(7, 2, 5)


def test_pieces_that_are_closed_have_been_settled(world: World) -> None:
    async def left() -> list[tuple[str, str, str]]:
        pieces = world.model().pieces([HumanMessage(SAID)])
        assert SAID.startswith((await anext(pieces)).text)
        await pieces.aclose()
        return world.meter.outcomes

    assert asyncio.run(left()) == [("small", "unclear", "cancelled")]


def test_the_cheapest_is_asked_first_and_unknown_prices_last(world: World) -> None:
    pool = world.pool()
    names = ["own", "large", "small", "flash", "extract"]
    found = pool.ordered(names, "cheapest", "acme", Usage(1_000, 1_000))
    assert found[0] == "extract"
    assert found[-2:] == ["large", "own"]


def test_load_is_spread_over_endpoints(world: World) -> None:
    pool = world.pool()

    async def many() -> list[str]:
        models = [world.model(pool, order="spread") for _ in range(40)]
        said = await asyncio.gather(*(model.ainvoke(SAID) for model in models))
        return [_told(one)["candidate"] for one in said]

    served = asyncio.run(many())
    assert served.count("small") == served.count("large") == 20
    assert pool.report()["small"].in_flight == 0
    assert pool.report()["small"].seconds is not None


@pytest.mark.parametrize("names", [["small"], ["small", "large"], ["small", "flash"], ["own"]])
def test_a_langgraph_agent_takes_it_for_a_chat_model(world: World, names: list[str]) -> None:
    from langchain.agents import create_agent

    @tool
    def weather_in(city: str) -> str:
        """The weather in a city."""
        return f"It rains in {city}"

    if len(names) > 1:
        set_faults(world.first, Fault(kind="500"))
    agent = create_agent(world.model(candidates=names, attempts=1), [weather_in])
    asked = HumanMessage("How is the weather?")
    found = agent.invoke({"messages": [asked]}, {"recursion_limit": 5})
    assert [type(one).__name__ for one in found["messages"]] == [
        "HumanMessage",
        "AIMessage",
        "ToolMessage",
        "AIMessage",
    ]
    assert found["messages"][-1].text == "Take an umbrella."
    assert _told(found["messages"][-1])["candidate"] == names[-1]


@pytest.mark.parametrize("name", ["small", "large", "flash", "own"])
def test_structured_output_comes_from_each_provider(world: World, name: str) -> None:
    class Mood(BaseModel):
        """How a customer feels."""

        mood: str
        score: int

    found = world.model(candidates=[name]).with_structured_output(Mood).invoke(SAID)
    assert isinstance(found, Mood)


def test_the_offline_model_serves_where_it_is_listed_and_only_without_tools(world: World) -> None:
    set_faults(world.first, Fault(kind="500"))
    model = world.model(candidates=["small", "extract"], attempts=1)
    said = model.invoke('<source id="S1">The export fails.</source> What of the export?')
    assert said.text == "Extract without a language model: The export fails. [S1]"
    assert _told(said)["offline"] is True
    bound = model.bind_tools([{"name": "look", "description": "Looks.", "parameters": {}}])
    with pytest.raises(NoAnswerError, match=r"extract \(takes no tools\)"):
        bound.invoke(SAID)


def test_it_works_from_threads_loops_and_within_a_loop(world: World) -> None:
    pool = world.pool()

    async def within() -> str:
        return str(world.model(pool).invoke(SAID).text)

    ways: list[Callable[[], object]] = [
        lambda: world.model(pool).invoke(SAID).text,
        lambda: asyncio.run(world.model(pool).ainvoke(SAID)).text,
        lambda: asyncio.run(world.model(pool).ainvoke(SAID)).text,
        lambda: asyncio.run(within()),
        lambda: "".join(_pieces(world.model(pool))),
    ]
    said: list[object] = []
    threads = [
        threading.Thread(target=lambda way=way: said.append(way())) for way in ways for _ in "12"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [SAID] * len(threads)


def test_langchains_own_cache_is_never_asked(world: World) -> None:
    before = sum(world.asked())
    set_llm_cache(InMemoryCache())
    try:
        for _ in range(2):
            world.model(candidates=["small"]).invoke(SAID)
    finally:
        set_llm_cache(None)
    assert sum(world.asked()) == before + 2


@dataclass
class Alerts:
    told: list[tuple[str, ...]] = field(default_factory=list)

    def raise_alert(self, tenant_id: str, kind: str, subject: str, message: str) -> None:
        self.told.append(("raised", tenant_id, kind, subject, message))

    def resolve(self, tenant_id: str, kind: str, subject: str) -> None:
        self.told.append(("resolved", tenant_id, kind, subject))


def _wait_for(alerts: Alerts, number: int) -> None:
    for _ in range(500):
        if len(alerts.told) >= number:
            return
        time.sleep(0.01)
    raise AssertionError("nobody was told")


def test_a_model_whose_answers_fail_their_checks_gives_way_to_its_backup(world: World) -> None:
    world.alerts = Alerts()
    pool = world.pool()
    for _ in range(quality.WINDOW):
        pool.note_quality("small", False, "acme")
    _wait_for(world.alerts, 1)
    (raised,) = world.alerts.told
    assert raised[:4] == ("raised", "acme", ALERT, "small")
    assert _told(world.model(pool).invoke(SAID))["candidate"] == "large"
    other = world.model(pool)
    other.tenant_id = "brio"
    assert _told(other.invoke(SAID))["candidate"] == "small", "another tenant's are good"
    alone = world.model(pool, candidates=["small"])
    assert _told(alone.invoke(SAID))["candidate"] == "small", "there is no backup"
    for _ in range(quality.GOOD_PROBES):
        world.ahead += quality.PROBE_SECONDS
        assert _told(world.model(pool).invoke(SAID))["candidate"] == "small", "a probe"
        pool.note_quality("small", True, "acme")
    _wait_for(world.alerts, 2)
    assert world.alerts.told[1] == ("resolved", "acme", ALERT, "small")
    assert pool.report()["small"].quality_switched == 0
