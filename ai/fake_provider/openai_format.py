"""OpenAI's chat completions, as they stand on the wire.

https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ai.fake_provider.exchange import Question, Refusal, Reply, pieces, words_of

_FINISH = {"stop": "stop", "length": "length", "tool": "tool_calls", "filtered": "content_filter"}
_ERRORS = {
    "429": ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "quota": ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "400": (
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens.",
    ),
    "401": ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "503": ("server_error", "overloaded", "The engine is currently overloaded."),
    "wrong request": ("invalid_request_error", None, "The request has not the expected shape."),
}


def key(headers: Mapping[str, str]) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")


def question(body: Mapping[str, Any], model: str, *, stream: bool) -> Question:
    messages = body["messages"]
    tools = {
        tool["function"]["name"]: tool["function"].get("parameters", {})
        for tool in body.get("tools", ())
    }
    choice, wanted = body.get("tool_choice"), body.get("response_format", {})
    schema = wanted.get("json_schema", {}).get("schema")
    if wanted.get("type") == "json_object":
        schema = {"type": "object"}
    return Question(
        provider="openai",
        model=body.get("model", model),
        texts=tuple(words_of(message.get("content")) for message in messages),
        asked=words_of([m.get("content") for m in messages if m["role"] == "user"][-1:]),
        tools=tools,
        forced=(
            choice["function"]["name"]
            if isinstance(choice, dict)
            else next(iter(tools), None)
            if choice in ("required", "any")
            else None
        ),
        schema=schema,
        most=body.get("max_completion_tokens") or body.get("max_tokens"),
        stream=stream or bool(body.get("stream")),
    )


def answer(question: Question, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.tool:
        message |= {"content": None, "tool_calls": [_call(reply.tool, reply.text)]}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": question.model,
        "choices": [
            {"index": 0, "message": message, "finish_reason": _FINISH[reply.finish]},
        ],
        "usage": _usage(reply),
    }


def chunks(question: Question, reply: Reply) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Events as (name, data); OpenAI names none. Usage comes in a last chunk without choices."""
    if reply.tool:
        yield _chunk(question, {"role": "assistant", "tool_calls": [_call(reply.tool, "", 0)]})
        for piece in pieces(reply.text):
            delta = {"index": 0, "function": {"arguments": piece}}
            yield _chunk(question, {"tool_calls": [delta]})
    else:
        yield _chunk(question, {"role": "assistant", "content": ""})
        for piece in pieces(reply.text):
            yield _chunk(question, {"content": piece})
    yield _chunk(question, {}, finish_reason=_FINISH[reply.finish])
    name, last = _chunk(question, {})
    yield name, last | {"choices": [], "usage": _usage(reply)}
    yield "", "[DONE]"


def error(refusal: Refusal) -> dict[str, Any]:
    kind, code, message = _ERRORS.get(
        refusal.kind, ("server_error", None, "The server had an error.")
    )
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def stream_error(refusal: Refusal) -> tuple[str, dict[str, Any]]:
    return "", error(refusal)


def _chunk(
    question: Question, delta: Mapping[str, Any], finish_reason: str | None = None
) -> tuple[str, dict[str, Any]]:
    return "", {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": question.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _call(tool: str, arguments: str, index: int | None = None) -> dict[str, Any]:
    call = {
        "id": "call_fake",
        "type": "function",
        "function": {"name": tool, "arguments": arguments},
    }
    return call if index is None else {"index": index, **call}


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }
