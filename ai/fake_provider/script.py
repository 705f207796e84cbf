"""What the fake provider is told to do: how it answers, how long it takes, and what goes wrong."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Provider = Literal["openai", "anthropic", "google"]

STATUSES = {"429": 429, "quota": 429, "500": 500, "503": 503, "529": 529, "400": 400, "401": 401}
# What each is, for people; `galena fake-provider --help` prints it.
KINDS = {
    "429": "too many requests, with Retry-After",
    "quota": "the account has no credit left",
    "500": "internal error",
    "503": "unavailable",
    "529": "overloaded",
    "400": "the input is too long for the model",
    "401": "the key is refused",
    "hang": "no answer at all",
    "broken": "the connection ends after the headers, before the first chunk",
    "cut": "the connection ends in the middle of the answer",
    "stream_error": "an error in the middle of a stream",
    "malformed": "a body that is no JSON",
    "wrong_schema": "JSON of another shape than was asked for",
    "not_json": "text where JSON was asked for",
    "filtered": "the content filter withholds the answer",
    "length": "the answer stops at half, as at a limit of tokens",
}
Kind = Literal[
    "429",
    "quota",
    "500",
    "503",
    "529",
    "400",
    "401",
    "hang",
    "broken",
    "cut",
    "stream_error",
    "malformed",
    "wrong_schema",
    "not_json",
    "filtered",
    "length",
]


class Fault(BaseModel):
    """Something that goes wrong.

    share: of the requests that it meets, at random. times: after so many it is over; none for
        never. after, seconds: an outage from so many seconds after it was set, for so many.
    provider, model: only requests in this format, for this model; none for any.
    retry_after: seconds that a 429, 503 or 529 asks to wait; written as seconds, as an HTTP date,
        as milliseconds (retry-after-ms), or in the body as Google does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    share: float = Field(default=1, gt=0, le=1)
    times: int | None = Field(default=None, ge=1)
    after: float = Field(default=0, ge=0)
    seconds: float | None = Field(default=None, gt=0)
    provider: Provider | None = None
    model: str | None = None
    retry_after: float | None = Field(default=None, ge=0)
    retry_after_as: Literal["seconds", "date", "milliseconds", "body"] = "seconds"


class ToolCall(BaseModel):
    """An answer that calls a tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: Mapping[str, Any] = {}


class Script(BaseModel):
    """All that the server does.

    answers: echo says the last message of the user again; obedient does too, but does what
        instructions anywhere in the prompt say, as a model does that was fooled. Where JSON or a
        tool call is asked for, either fills the schema.
    canned: the answer to a prompt that has the key in it, before `answers`; longest key first.
    answer_tokens: the most of an echo; none for all of it.
    latency, spread: seconds to the first byte, give or take so many, even. chunk_seconds: between
        the chunks of a stream. cached_share: of the input that is reported as cached.
    api_key: any other key is refused; none for no check. seed: of what happens at random.
    keep: how many of the latest requests are kept for who asks what was received.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: Literal["echo", "obedient"] = "echo"
    canned: Mapping[str, str | ToolCall] = {}
    answer_tokens: int | None = Field(default=None, ge=1)
    latency: float = Field(default=0, ge=0)
    spread: float = Field(default=0, ge=0)
    chunk_seconds: float = Field(default=0, ge=0)
    cached_share: float = Field(default=0, ge=0, le=1)
    api_key: str | None = None
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    keep: int = Field(default=1_000, ge=0)
