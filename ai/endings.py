"""How providers say that an answer has ended."""

from typing import Literal

from langchain_core.messages import BaseMessage

_FIELDS = ("finish_reason", "stop_reason")
# That their own filter ended it. Google's: https://ai.google.dev/api/generate-content#FinishReason
_FILTERED = frozenset(
    {"content_filter", "refusal", "safety", "prohibited_content", "blocklist", "spii", "recitation"}
)


def ending(message: BaseMessage) -> Literal["given", "withheld"] | None:
    """Whether the answer ends with this message or piece, and whether the provider's own filter
    ended it or did not let the input through. None: it does not say."""
    told = message.response_metadata
    said = {str(told[name]).lower() for name in _FIELDS if told.get(name)}
    # Of an input that it refuses Google says so, and gives no answer.
    if said & _FILTERED or (told.get("prompt_feedback") or {}).get("block_reason"):
        return "withheld"
    return "given" if said else None
