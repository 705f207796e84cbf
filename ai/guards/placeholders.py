"""Placeholders such as <EMAIL_1> that stand for originals during one call, and their way back."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "EMAIL",
    "PHONE",
    "CARD",
    "IBAN",
    "IP",
    "IDENTITY",
    "PERSON",
    "COMPANY",
    "ADDRESS",
    "BIRTHDATE",
    "LITERAL",
]
_KINDS: tuple[str, ...] = (
    "EMAIL", "PHONE", "CARD", "IBAN", "IP", "IDENTITY", "PERSON", "COMPANY", "ADDRESS",
    "BIRTHDATE", "LITERAL",
)  # fmt: skip
_KIND = "|".join(_KINDS)

# What models make of <EMAIL_1>: other case, spaces, escapes of Markdown, HTML, JSON, no brackets.
_OPEN = r"(?:\\{0,2}<|&lt;|\\u003[cC])"
_CLOSE = r"(?:\\{0,2}>|&gt;|\\u003[eE])"
_JOIN = r"(?:\s|\\{0,2}_|-)"
_SQUARE = r"\\{0,2}[\[{(]"
_ROUND = r"\\{0,2}[\]})]"
_PLACEHOLDER = re.compile(
    rf"{_OPEN}\s?/?(?P<k1>(?i:{_KIND})){_JOIN}{{0,2}}(?P<n1>\d{{1,6}})\s?/?{_CLOSE}"
    rf"|{_SQUARE}(?P<k2>(?i:{_KIND}))\\{{0,2}}_(?P<n2>\d{{1,6}}){_ROUND}"
    rf"|{_OPEN}?(?<![A-Za-z0-9_])(?P<k3>{_KIND})\\{{0,2}}_(?P<n3>\d{{1,6}})"
    rf"(?![A-Za-z0-9_]){_CLOSE}?"
)


_BEGUN_KIND = "|".join(
    sorted({kind[:upto] for kind in _KINDS for upto in range(1, len(kind) + 1)}, reverse=True)
)
_BEGUN_OPEN = r"\\{0,2}<|&(?:l(?:t;?)?)?|\\{1,2}(?:u(?:0(?:0(?:3[cC]?)?)?)?)?|\\{0,2}[\[{(]"
_BEGUN_CLOSE = r"\\{0,2}|&(?:g(?:t;?)?)?|\\u(?:0(?:0(?:3[eE]?)?)?)?"
_BEGUN_REST = rf"(?i:{_BEGUN_KIND})(?:{_JOIN}|\\){{0,3}}(?:\d{{1,6}}\s?/?(?:{_BEGUN_CLOSE}))?"
# What may yet become a placeholder, or one that has no end yet.
_BEGUN = re.compile(rf"(?:{_BEGUN_OPEN})\s?/?(?:{_BEGUN_REST})?\Z|(?<![A-Za-z0-9_]){_BEGUN_REST}\Z")


@dataclass(repr=False, eq=False)
class Vault:
    """What the placeholders of one call stand for. It is kept for the call alone, and its repr
    shows how many there are and nothing of them.

    The same original gets the same placeholder. What looks like a placeholder in a text that comes
    in is an original too (LITERAL), so that nobody can have another's data put where he wrote one.
    """

    _placeholders: dict[tuple[Kind, str], str] = field(default_factory=dict)
    _originals: dict[tuple[str, int], str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def placeholder(self, kind: Kind, original: str) -> str:
        """Such as <EMAIL_1>: the next number of its kind, or the one that the original has."""
        found = self._placeholders.get((kind, original))
        if found is None:
            self._counts[kind] += 1
            number = self._counts[kind]
            found = self._placeholders[kind, original] = f"<{kind}_{number}>"
            self._originals[kind, number] = original
        return found

    def originals(self, kind: Kind) -> list[str]:
        return [original for of_kind, original in self._placeholders if of_kind == kind]

    def restore(self, text: str) -> str:
        """The text with the originals in place of their placeholders, also of damaged ones."""
        return self.restored(text, 0, len(text))

    def restored(self, text: str, begin: int, end: int) -> str:
        """That part of the text, restored; what stands before it is looked at."""
        pieces: list[str] = []
        upto = begin
        for match in _PLACEHOLDER.finditer(text, begin, end):
            original = self._originals.get(_named(match))
            if original is not None:
                pieces += text[upto : match.start()], original
                upto = match.end()
        return "".join([*pieces, text[upto:end]])

    def stream(self) -> "Restorer":
        """Restores a text that comes in pieces."""
        return Restorer(self)

    def __len__(self) -> int:
        return len(self._originals)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"Vault({dict(self._counts)})"


class Restorer:
    """Puts originals back into a text that comes in pieces, however these cut placeholders.

    Held back is no more than what may be the beginning of a placeholder.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._before = ""
        self._held = ""

    def feed(self, chunk: str) -> str:
        """What can be given out now, restored; it may be empty."""
        text = self._before + self._held + chunk
        return self._give(text, _end_of_settled(text, len(self._before)))

    def end(self) -> str:
        """What was held back; nothing follows."""
        text = self._before + self._held
        return self._give(text, len(text))

    def _give(self, text: str, upto: int) -> str:
        begin = len(self._before)
        given = self._vault.restored(text, begin, upto) if upto > begin else ""
        self._held = text[max(upto, begin) :]
        # The last character stays as what is looked back at.
        self._before = text[upto - 1 : upto] if upto > begin else self._before
        return given


def look_alikes(text: str) -> list[tuple[int, int]]:
    """Where the text holds what `Vault.restore` would take for a placeholder."""
    return [match.span() for match in _PLACEHOLDER.finditer(text)]


def _end_of_settled(text: str, begin: int) -> int:
    begun = _BEGUN.search(text, begin)
    end = begun.start() if begun else len(text)
    # One that is whole may still get a closing bracket, and one that began before is cut.
    for match in _PLACEHOLDER.finditer(text, begin):
        if match.start() < end < match.end():
            end = match.start()
    return end


def _named(match: re.Match[str]) -> tuple[str, int]:
    kind = match["k1"] or match["k2"] or match["k3"]
    number = match["n1"] or match["n2"] or match["n3"]
    return kind.upper(), int(number)
