"""Google's generateContent, as it stands on the wire.

https://ai.google.dev/api/generate-content
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ai.fake_provider.exchange import Question, Refusal, Reply, arguments, pieces, words_of

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "filtered": "SAFETY"}
_TYPES = "type.googleapis.com/google.rpc."
_ERRORS = {
    "429": ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "quota": ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan."),
    "503": ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    "529": ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    "400": (
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "401": ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "wrong request": ("INVALID_ARGUMENT", "The request has not the expected shape."),
}
# Google answers 400 to a key that it does not know.
STATUSES = {"401": 400}


def key(headers: Mapping[str, str]) -> str:
    return headers.get("x-goog-api-key", "")


def question(body: Mapping[str, Any], model: str, *, stream: bool) -> Question:
    contents, settings = body["contents"], body.get("generationConfig", {})
    tools = {
        function["name"]: function.get("parametersJsonSchema") or function.get("parameters", {})
        for tool in body.get("tools", ())
        for function in tool.get("functionDeclarations", ())
    }
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    forced = None
    if calling.get("mode") == "ANY":
        forced = next(iter(calling.get("allowedFunctionNames") or tools), None)
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    if schema is None and settings.get("responseMimeType") == "application/json":
        schema = {"type": "object"}
    system = words_of(body.get("systemInstruction", {}).get("parts"))
    asked = [content for content in contents if content.get("role", "user") == "user"]
    return Question(
        provider="google",
        model=model,
        texts=tuple(filter(None, [system, *(_words(one["parts"]) for one in contents)])),
        asked=words_of([one["parts"] for one in asked[-1:]]),
        tools=tools,
        forced=forced,
        schema=schema,
        most=settings.get("maxOutputTokens"),
        stream=stream,
    )


def _words(parts: Sequence[Mapping[str, Any]]) -> str:
    """The texts of a message, and what the tools answered."""
    answered = (
        part["functionResponse"]["response"] for part in parts if "functionResponse" in part
    )
    return "\n".join([words_of(parts), *(json.dumps(one, ensure_ascii=False) for one in answered)])


def answer(question: Question, reply: Reply) -> dict[str, Any]:
    part: dict[str, Any] = {"text": reply.text}
    if reply.tool:
        part = {"functionCall": {"name": reply.tool, "args": arguments(reply.text)}}
    return _response(question, [part], _FINISH[reply.finish], reply)


def chunks(question: Question, reply: Reply) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Events as (name, data); Google names none, and each has the usage so far."""
    if reply.tool or reply.finish == "filtered":
        yield "", answer(question, reply)
        return
    parts = pieces(reply.text)
    for number, piece in enumerate(parts, 1):
        finish = _FINISH[reply.finish] if number == len(parts) else None
        yield "", _response(question, [{"text": piece}], finish, reply)


def error(refusal: Refusal) -> dict[str, Any]:
    status, message = _ERRORS.get(refusal.kind, ("INTERNAL", "An internal error has occurred."))
    details: list[dict[str, Any]] = []
    if refusal.kind == "401":
        details.append({"@type": _TYPES + "ErrorInfo", "reason": "API_KEY_INVALID"})
    if refusal.kind == "quota":
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
        details.append({"@type": _TYPES + "QuotaFailure", "violations": [violation]})
    if refusal.retry_after is not None:
        delay = f"{refusal.retry_after:g}s"
        details.append({"@type": _TYPES + "RetryInfo", "retryDelay": delay})
    code = refusal.status
    return {"error": {"code": code, "message": message, "status": status, "details": details}}


def stream_error(refusal: Refusal) -> tuple[str, dict[str, Any]]:
    return "", error(refusal)


def _response(
    question: Question, parts: list[dict[str, Any]], finish: str | None, reply: Reply
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish == "SAFETY":
        candidate = {"index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "modelVersion": question.model,
        "usageMetadata": {
            "promptTokenCount": reply.input_tokens,
            "cachedContentTokenCount": reply.cached_tokens,
            "candidatesTokenCount": reply.output_tokens,
            "totalTokenCount": reply.input_tokens + reply.output_tokens,
        },
    }
