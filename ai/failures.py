"""Why a request to a provider has no answer, whichever library says so and however."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ai.retry_after import seconds_to_wait

Kind = Literal[
    "rate_limited",
    "out_of_quota",
    "overloaded",
    "unavailable",
    "timed_out",
    "broken_stream",
    "malformed",
    "refused_key",
    "bad_request",
    "not_found",
    "content_filtered",
    "context_too_long",
    "unknown",
]


@dataclass(frozen=True)
class Failure:
    """What became of a request.

    retry_after: seconds that the provider asks to wait; None when it does not say. retryable: the
    same request to the same endpoint may be answered. elsewhere: another candidate may answer it.
    billed: it may be; the provider began to answer, or nobody knows. message: for people, without
    contents or keys, without a full stop.
    """

    kind: Kind
    message: str
    retryable: bool
    elsewhere: bool
    billed: bool
    retry_after: float | None = None


class BrokenOffError(Exception):
    """A stream ended as if it were whole, without saying that it is."""


class WithheldError(Exception):
    """An answer ended because the provider's own filter ended it."""


# retryable, elsewhere, billed, what it means. A provider bills what it answered: an error with a
# status was not; what broke off or came garbled may have been.
_MEANINGS: Mapping[Kind, tuple[bool, bool, bool, str]] = {
    "rate_limited": (True, True, False, "the provider takes no more requests for now"),
    "out_of_quota": (False, True, False, "the account at the provider has no credit left"),
    "overloaded": (True, True, False, "the provider is overloaded"),
    "unavailable": (True, True, False, "the provider cannot be reached or has an internal error"),
    "timed_out": (True, True, True, "the provider did not answer in time"),
    "broken_stream": (True, True, True, "the connection ended before the answer did"),
    "malformed": (True, True, True, "the provider's response cannot be read"),
    "refused_key": (False, True, False, "the provider refuses the key"),
    "bad_request": (False, True, False, "the provider refuses the request as wrong"),
    "not_found": (False, True, False, "the provider has no such model or address"),
    "content_filtered": (False, True, True, "the provider's content filter withholds the answer"),
    "context_too_long": (False, True, False, "the input is too long for the model"),
    "unknown": (False, True, True, "the request failed"),
}
_BY_STATUS: Mapping[int, Kind] = {
    401: "refused_key",
    402: "out_of_quota",
    403: "refused_key",
    404: "not_found",
    408: "timed_out",
    413: "context_too_long",
    429: "rate_limited",
    503: "overloaded",
    504: "timed_out",
    529: "overloaded",
}
# Names of errors in bodies, where the status says less or a stream has none.
_BY_NAME: Mapping[str, Kind] = {
    "insufficient_quota": "out_of_quota",
    "billing_error": "out_of_quota",
    "context_length_exceeded": "context_too_long",
    "content_filter": "content_filtered",
    "overloaded_error": "overloaded",
    "rate_limit_error": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "API_KEY_INVALID": "refused_key",
}
# What providers tell by words alone.
_BY_WORDS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"credit balance is too low", re.I), "out_of_quota"),
    (
        re.compile(
            r"prompt is too long|maximum context length|context window|input token count"
            r"|context length",
            re.I,
        ),
        "context_too_long",
    ),
    (re.compile(r"content management policy|content filter", re.I), "content_filtered"),
)
# Classes by name, the first that is anywhere in the chain of causes; to import the libraries for a
# look would cost a second where one is not used. A connection that was never made comes first: its
# cause is a timeout too, and nothing was sent.
_BY_CLASS: Mapping[str, Kind] = {
    "ContextOverflowError": "context_too_long",
    "ConnectTimeout": "unavailable",
    "PoolTimeout": "unavailable",
    "ConnectError": "unavailable",
    "ProxyError": "unavailable",
    "JSONDecodeError": "malformed",
    "ValidationError": "malformed",
    "APIResponseValidationError": "malformed",
    "UnknownApiResponseError": "malformed",
    "DecodingError": "malformed",
    "BrokenOffError": "broken_stream",
    "WithheldError": "content_filtered",
    "ProtocolError": "broken_stream",
    "NetworkError": "broken_stream",
    "TimeoutException": "timed_out",
    "TimeoutError": "timed_out",
    "ConnectionError": "broken_stream",
    "APIConnectionError": "broken_stream",
}


def classify(
    error: BaseException, outside: BaseException | None = None, *, now: datetime | None = None
) -> Failure:
    """What the error of a provider's library, or of LangChain's wrapper of it, means.

    outside: what the caller was handling when it asked, which Python puts at the end of the chain
    of each error and which says nothing of the provider.
    now: to know how long it is until a Retry-After that is a date; without it the Date of the
    same response is taken, and without either it is not known.
    """
    chain = list(_chain(error, outside))
    status = next(filter(None, map(_status, chain)), None)
    body = next(filter(None, map(_body, chain)), {})
    headers = next(filter(None, map(_headers, chain)), {})
    kind = _kind(chain, status, body)
    retryable, elsewhere, billed, meaning = _MEANINGS[kind]
    return Failure(
        kind=kind,
        message=f"{meaning} (HTTP {status})" if status else meaning,
        retryable=retryable,
        elsewhere=elsewhere,
        billed=billed or any(map(_answering, chain)) or (status is None and bool(body)),
        retry_after=seconds_to_wait(headers, _details(body), now),
    )


def _kind(chain: list[BaseException], status: int | None, body: Mapping[str, Any]) -> Kind:
    for name in _names(body):
        if name in _BY_NAME:
            return _BY_NAME[name]
    if spoken := _by_words(body):
        return spoken
    if status is not None:
        return _BY_STATUS.get(status, "unavailable" if status >= 500 else "bad_request")
    if body:
        # An error in the middle of a stream, of which the provider says no more.
        return "unavailable"
    classes = {parent.__name__ for error in chain for parent in type(error).__mro__}
    return next((kind for name, kind in _BY_CLASS.items() if name in classes), "unknown")


def _by_words(body: Mapping[str, Any]) -> Kind | None:
    words = str(_error(body).get("message", ""))
    return next((kind for pattern, kind in _BY_WORDS if pattern.search(words)), None)


def _names(body: Mapping[str, Any]) -> Iterator[str]:
    error = _error(body)
    for field in ("code", "type"):
        if isinstance(error.get(field), str):
            yield error[field]
    for detail in _details(body):
        if "reason" in detail:
            yield str(detail["reason"])
        # Google says "exceeded your current quota" of a minute's as of a day's.
        if "PerDay" in str(detail.get("violations")):
            yield "insufficient_quota"


def _error(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's library gives what is in `error`, the others the whole."""
    inner = body.get("error", body)
    return inner if isinstance(inner, Mapping) else {"message": inner}


def _details(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = _error(body).get("details")
    return [one for one in details if isinstance(one, Mapping)] if isinstance(details, list) else []


def _chain(error: BaseException, outside: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and found is not outside and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int | None:
    """OpenAI and Anthropic call it status_code, Google code."""
    for name in ("status_code", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and status >= 400:
            return status
    return None


def _answering(error: BaseException) -> bool:
    """Whether the error came in the middle of an answer, whatever status it names itself."""
    return getattr(getattr(error, "response", None), "status_code", None) == 200


def _body(error: BaseException) -> Mapping[str, Any]:
    for name in ("body", "details"):
        body = getattr(error, name, None)
        if isinstance(body, str):
            try:
                body = json.loads(body)
            except ValueError:
                continue
        if isinstance(body, Mapping):
            return body
    return {}


def _headers(error: BaseException) -> Mapping[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None)
    return headers if isinstance(headers, Mapping) else {}
