"""What is given out: an answer with what is known of it, and the message made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from ai.calls import Answer
from ai.making import Sent
from ai.shelf import Tier


@dataclass(frozen=True)
class Given:
    """What is given out.

    text: with originals in place of placeholders. answer: as it was made; it says whether it is the
    offline model's or the feature's stated one. tier: where it was found, None when it was made for
    this call. withheld: how many sentences of the sources looked like instructions and were not
    sent.
    """

    text: str
    answer: Answer
    tier: Tier | None
    withheld: int


def keyed(message: BaseMessage) -> list[Any]:
    """Of a message all that a provider is sent, as JSON: what an answer's key is made of."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    answers = message.tool_call_id if isinstance(message, ToolMessage) else ""
    return [message.type, message.name or "", message.text, calls, answers]


def given_of(answer: Answer, sent: Sent, tier: Tier | None) -> Given:
    """The answer, with originals in place of placeholders."""
    text = sent.cleaner.vault.restore(answer.text)
    return Given(text, answer, tier, sent.cleaner.findings)


def message_of(given: Given, calls: Sequence[Any]) -> AIMessage:
    """A message made of what has been checked and restored, and of nothing else that came."""
    answer, used = given.answer, given.answer.usage
    return AIMessage(
        given.text,
        tool_calls=list(calls),
        response_metadata={
            "finish_reason": answer.finish_reason,
            "model_name": answer.model,
            "galena": {
                "candidate": answer.candidate,
                "provider": answer.provider,
                "model": answer.model,
                "offline": answer.offline,
                "fallback": answer.fallback,
                "cached": given.tier or "",
                "withheld": given.withheld,
            },
        },
        usage_metadata=None
        if given.tier
        else {
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        },
    )
