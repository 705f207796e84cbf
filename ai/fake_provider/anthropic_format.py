"""Anthropic's messages, as they stand on the wire.

https://docs.anthropic.com/en/api/messages
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ai.fake_provider.exchange import Question, Refusal, Reply, arguments, pieces, words_of

_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "filtered": "refusal"}
_ERRORS = {
    "429": ("rate_limit_error", "This request would exceed your rate limit."),
    "quota": ("invalid_request_error", "Your credit balance is too low to access the API."),
    "529": ("overloaded_error", "Overloaded"),
    "503": ("overloaded_error", "Overloaded"),
    "400": ("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "401": ("authentication_error", "invalid x-api-key"),
    "wrong request": ("invalid_request_error", "The request has not the expected shape."),
}

# Anthropic answers 400 to an account without credit.
STATUSES = {"quota": 400}


def key(headers: Mapping[str, str]) -> str:
    """Its clients send it in either header, older ones in the first."""
    return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")


def question(body: Mapping[str, Any], model: str, *, stream: bool) -> Question:
    messages, choice = body["messages"], body.get("tool_choice") or {}
    tools = {tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools", ())}
    forced = choice.get("name")
    if choice.get("type") == "any":
        forced = next(iter(tools), None)
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    texts = [words_of(body.get("system")), *(words_of(message["content"]) for message in messages)]
    return Question(
        provider="anthropic",
        model=body.get("model", model),
        texts=tuple(filter(None, texts)),
        asked=words_of([m["content"] for m in messages if m["role"] == "user"][-1:]),
        tools=tools,
        forced=forced,
        schema=wanted.get("schema"),
        most=body["max_tokens"],
        stream=stream or bool(body.get("stream")),
    )


def answer(question: Question, reply: Reply) -> dict[str, Any]:
    return {
        **_message(question),
        "content": [_block(reply, reply.text)] if reply.finish != "filtered" else [],
        "stop_reason": _FINISH[reply.finish],
        "usage": {**_usage(reply), "output_tokens": reply.output_tokens},
    }


def chunks(question: Question, reply: Reply) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Events as (name, data). The first has the usage so far, the last but one all."""
    start = {**_message(question), "usage": {**_usage(reply), "output_tokens": 1}}
    yield _event("message_start", message=start)
    if reply.finish != "filtered":
        yield _event("content_block_start", index=0, content_block=_block(reply, None))
        for piece in pieces(reply.text):
            delta = (
                {"type": "input_json_delta", "partial_json": piece}
                if reply.tool
                else {"type": "text_delta", "text": piece}
            )
            yield _event("content_block_delta", index=0, delta=delta)
        yield _event("content_block_stop", index=0)
    yield _event(
        "message_delta",
        delta={"stop_reason": _FINISH[reply.finish], "stop_sequence": None},
        usage={**_usage(reply), "output_tokens": reply.output_tokens},
    )
    yield _event("message_stop")


def error(refusal: Refusal) -> dict[str, Any]:
    kind, message = _ERRORS.get(refusal.kind, ("api_error", "Internal server error"))
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_fake",
    }


def stream_error(refusal: Refusal) -> tuple[str, dict[str, Any]]:
    return "error", error(refusal)


def _event(name: str, **data: object) -> tuple[str, dict[str, Any]]:
    return name, {"type": name, **data}


def _message(question: Question) -> dict[str, Any]:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(reply: Reply, text: str | None) -> dict[str, Any]:
    """A block with its content, or with none yet."""
    if reply.tool:
        return {
            "type": "tool_use",
            "id": "toolu_fake",
            "name": reply.tool,
            "input": arguments(text) if text is not None else {},
        }
    return {"type": "text", "text": text or ""}


def _usage(reply: Reply) -> dict[str, Any]:
    """What came from the cache is not among input_tokens here."""
    return {
        "input_tokens": reply.input_tokens - reply.cached_tokens,
        "cache_read_input_tokens": reply.cached_tokens,
        "cache_creation_input_tokens": 0,
    }
