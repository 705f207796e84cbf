"""How many tokens a call takes: a bound and a guess beforehand, and what a provider counted."""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from ai.calls import NOTHING, Usage

# Providers wrap each message in a few tokens of their own.
_OF_A_MESSAGE = 16
# With tools they add instructions: up to some 500 tokens, says Anthropic
# (https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview#pricing).
_OF_TOOLS = 1_000
# English has about four bytes to a token, German and French three, a Chinese character's three
# bytes are about one.
_BYTES_A_TOKEN = 3


def most(messages: Sequence[BaseMessage], tools: Sequence[Any], output_tokens: int) -> Usage:
    """The most that a request can take. A token of a byte-pair encoding holds at least one byte.

    Does not hold for what is sent by its address, such as pictures by URL.
    """
    extra = _OF_A_MESSAGE * len(messages) + (_OF_TOOLS if tools else 0)
    return Usage(_bytes(messages, tools) + extra, output_tokens)


def likely(messages: Sequence[BaseMessage], tools: Sequence[Any], output_tokens: int) -> Usage:
    """About what a request takes whose answer is as long as it may be."""
    size = _bytes(messages, tools) // _BYTES_A_TOKEN
    return Usage(size + _OF_A_MESSAGE * len(messages), output_tokens)


def usage_of(told: UsageMetadata | None) -> Usage:
    """What a provider counted; NOTHING where it does not say."""
    if told is None:
        return NOTHING
    cached = told.get("input_token_details", {}).get("cache_read") or 0
    return Usage(told["input_tokens"], told["output_tokens"], cached)


def _bytes(messages: Sequence[BaseMessage], tools: Sequence[Any]) -> int:
    return sum(map(_bytes_of, messages)) + (_bytes_of_json(tools) if tools else 0)


def _bytes_of(message: BaseMessage) -> int:
    content = message.content
    size = len(content.encode()) if isinstance(content, str) else _bytes_of_json(content)
    if isinstance(message, AIMessage) and message.tool_calls:
        size += _bytes_of_json(message.tool_calls)
    return size + len((message.name or "").encode())


def _bytes_of_json(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str).encode())
