"""Prompts and conversations that are too long for a model: what is left out, and that it was."""

from collections.abc import Mapping, Sequence

from langchain_core.messages import BaseMessage, trim_messages

from ai import sizes
from ai.prompt import Source

CUT = " [cut]"
# As ai.sizes guesses.
_BYTES_A_TOKEN = 3


def trimmed(
    values: Mapping[str, str | Sequence[Source]], tokens: int
) -> Mapping[str, str | Sequence[Source]]:
    """The values with so many of their sources, from the first on, as the tokens hold; the source
    that holds the last of them ends with `[cut]`.

    Who lists sources lists the most telling ones first. Texts that are no sources stay whole: if
    they alone are too long, no candidate fits, and the call says so.
    """
    room = tokens * _BYTES_A_TOKEN
    room -= sum(_size(value) for value in values.values() if isinstance(value, str))
    return {
        name: value if isinstance(value, str) else _fitting(value, max(room, 0))
        for name, value in values.items()
    }


def latest(messages: Sequence[BaseMessage], tokens: int) -> list[BaseMessage]:
    """The system's message and so many of the latest others as the tokens hold, from a person's
    message on; whole messages, so that no tool's answer is there without its question. All of them
    when nothing that begins so fits: no candidate does then, and the call says so.
    """
    kept = trim_messages(
        list(messages),
        max_tokens=tokens,
        token_counter=lambda some: sizes.likely(some, (), 0).input_tokens,
        strategy="last",
        include_system=True,
        start_on="human",
    )
    return kept if any(message.type == "human" for message in kept) else list(messages)


def _fitting(sources: Sequence[Source], room: int) -> list[Source]:
    kept: list[Source] = []
    for source in sources:
        size = _size(source.text)
        if size > room:
            if cut := source.text.encode()[:room].decode(errors="ignore").strip():
                kept.append(Source(source.source_id, cut + CUT))
            break
        kept.append(source)
        room -= size
    return kept


def _size(text: str) -> int:
    return len(text.encode())
