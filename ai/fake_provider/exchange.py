"""A question and a reply in no provider's format: what the three have in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ai.fake_provider.script import Provider

# About what a token of English is; a count needs to be the same each time, not right.
_CHARACTERS = 4

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """texts: of the system and all messages, in order. asked: the user's last. tools: schemas of
    arguments by name. forced: the tool that has to be called. schema: of the JSON asked for.
    most: tokens of output, None for no limit."""

    provider: Provider
    model: str
    texts: tuple[str, ...]
    asked: str
    tools: Mapping[str, Schema]
    forced: str | None
    schema: Schema | None
    most: int | None
    stream: bool


@dataclass(frozen=True)
class Reply:
    """text, or the call of a tool with its arguments as JSON; input_tokens: the cached ones too."""

    text: str
    tool: str | None
    finish: Literal["stop", "length", "tool", "filtered"]
    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Refusal:
    """An error before a format wraps it. retry_after: for the body, in seconds."""

    kind: str
    status: int
    retry_after: float | None = None


def tokens(text: str) -> int:
    """How many tokens a text has: the same each time."""
    return -(-len(text) // _CHARACTERS)


def cut(text: str, most: int) -> str:
    """The text's first tokens."""
    return text[: most * _CHARACTERS]


def pieces(text: str, size: int = 24) -> list[str]:
    """The text in chunks of so many characters, as streams have it; at least one."""
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def words_of(content: object) -> str:
    """The text of a message's content: a string, or parts of which some have text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(words_of, content)))
    if isinstance(content, Mapping):
        return words_of(content.get("text") or content.get("content") or "")
    return ""


def arguments(text: str) -> dict[str, Any]:
    """A tool's arguments for formats that send an object and no text."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"unparsed": text}
