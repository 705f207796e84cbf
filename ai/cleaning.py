"""What is done to a call's texts before a provider sees them, and what is kept to undo it."""

import re

from ai.errors import RefusedInputError
from ai.guards.injection import THRESHOLD, Detector
from ai.guards.normalise import normalise
from ai.guards.pii import Redactor
from ai.guards.placeholders import Vault
from ai.prompt import Kind
from ai.trimming import CUT

WITHHELD = "[withheld: this looked like an instruction]"

# Of a longer text the beginning is sent: what is made to be slow ("1 ", "A. ") takes 10
# microseconds a character, so that one text takes a second at most.
LONGEST = 100_000
# What stands between < and a letter, in any script.
_OPENED = re.compile(r"<([^\w<>]*)(?=[^\W\d])")


class Cleaner:
    """The texts of one call, each made fit to be sent.

    vault: what its placeholders stand for. sources: the texts with their personal data, without
        what was withheld: what an answer may repeat. findings: how many sentences looked like
        instructions.
    """

    def __init__(self, detector: Detector, redactor: Redactor, *, refuse: bool) -> None:
        self.vault = Vault()
        self.sources: list[str] = []
        self.findings = 0
        self._detector, self._redactor, self._refuse = detector, redactor, refuse

    def __call__(self, kind: Kind, text: str) -> str:
        """The text without hidden characters, tags, personal data and, if others wrote it, without
        sentences that look like instructions to a model.

        The person who asks may instruct: of what is `asked` nothing is withheld. Raises
        RefusedInputError: others wrote instructions, and the feature refuses such. A text that is
        not trusted is cut at LONGEST characters, and ends with the mark of that.
        """
        if kind != "trusted":
            text = _cut(text)
        sent = self._withheld(text) if kind == "sources" else normalise(text)
        if kind != "trusted":
            sent = _OPENED.sub(_escaped, sent)
        self.sources.append(sent)
        return self._redactor.redact(sent, self.vault)

    @property
    def found(self) -> dict[str, int]:
        """How much each guard found, by the guard's name; those that found nothing are left out."""
        found = {"injection": self.findings, "personal_data": len(self.vault)}
        return {guard: number for guard, number in found.items() if number}

    def _withheld(self, text: str) -> str:
        """The text as it is sent, without what looks like an instruction to a model."""
        # Of the raw text: what was hidden in it is gone from the one that is sent.
        found = [one for one in self._detector.findings(text) if one.score >= THRESHOLD]
        self.findings += len(found)
        if found and self._refuse:
            raise RefusedInputError(
                f"A text holds {len(found)} sentences that look like instructions to a language"
                " model, and this feature refuses such: look at the text, or set at_injection to"
                " withhold."
            )
        sent = normalise(text)
        for one in sorted(found, key=lambda finding: finding.start, reverse=True):
            if one.start < one.end:
                sent = sent[: one.start] + WITHHELD + sent[one.end :]
        return sent


def _cut(text: str) -> str:
    short = text[:LONGEST]
    # One character can stand for 18: U+FDFA.
    if len(normal := normalise(short)) > LONGEST:
        short = normal[:LONGEST]
    return text if short == text else short + CUT


def _escaped(opened: re.Match[str]) -> str:
    """Without its < if a reader may take it for a tag: of a fence or a chat template, however it
    is spaced. "3 < 4" and "a <- b" are left as they are."""
    between = opened[1]
    is_tag = not between.strip() or any(sign in between for sign in "/\\|!?")
    return f"&lt;{between}" if is_tag else opened[0]
