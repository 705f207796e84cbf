"""Personal data kept from providers: found, and replaced by placeholders that can be put back."""

import re
from collections.abc import Iterator, Sequence

from ai.guards.pii_addresses import addresses
from ai.guards.pii_context import births, persons
from ai.guards.pii_found import Found
from ai.guards.pii_gazetteer import Gazetteer
from ai.guards.pii_identities import identities
from ai.guards.pii_numbers import addresses_of_computers, cards, emails, ibans
from ai.guards.pii_phones import REGIONS, phones
from ai.guards.placeholders import Vault, look_alikes

_DIGIT = re.compile(r"\d")


class Redactor:
    """Finds personal data of one tenant's texts. Made once per tenant and kept: the names are
    indexed then; it holds no text.

    names: of the tenant's customers and leads, persons and companies, as its CRM writes them.
    regions: ISO 3166 codes of where telephone numbers without a country's code may be of.
    context: whether persons are also looked for by what stands around their names, beyond `names`.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        *,
        regions: Sequence[str] = REGIONS,
        context: bool = True,
    ) -> None:
        self._gazetteer = Gazetteer(names)
        self._regions = tuple(regions)
        self._context = context

    def redact(self, text: str, vault: Vault) -> str:
        """The text with placeholders in place of personal data; the vault learns what they are.

        Texts of one call share a vault: the same original gets the same placeholder, and a person
        found by the context in one text is found by name in those after it.
        `vault.restore(redact(text))` is the text.
        """
        pieces, upto = [], 0
        for found in self.find(text, vault):
            pieces.append(text[upto : found.start])
            pieces.append(vault.placeholder(found.kind, text[found.start : found.end]))
            upto = found.end
        pieces.append(text[upto:])
        return "".join(pieces)

    def find(self, text: str, vault: Vault | None = None) -> list[Found]:
        """What is to be replaced, in the text's order; none overlaps another.

        vault: whose persons are looked for, too.
        """
        found = [Found(start, end, "LITERAL") for start, end in look_alikes(text)]
        found += emails(text)
        found += addresses_of_computers(text)
        if _DIGIT.search(text):
            found += self._numbers(text)
        named = list(self._gazetteer.find(text))
        if self._context:
            around = list(persons(text))
            known = {text[person.start : person.end] for person in around}
            known.update(vault.originals("PERSON") if vault else ())
            named += [*around, *_again(text, known)]
        # The tenant's Anna is part of another's whole name in "Anna Freeman".
        found += sorted(named, key=lambda one: one.start - one.end)
        return _apart(found, text)

    def _numbers(self, text: str) -> Iterator[Found]:
        yield from ibans(text)
        yield from cards(text)
        yield from identities(text)
        yield from phones(text, self._regions)
        yield from births(text)
        yield from addresses(text)


def _again(text: str, names: set[str]) -> Iterator[Found]:
    """Where names stand that were found elsewhere."""
    if names:
        longest_first = sorted(names, key=len, reverse=True)
        either = "|".join(re.escape(name) for name in longest_first)
        for match in re.finditer(rf"(?<!\w)(?:{either})(?!\w)", text):
            yield Found(match.start(), match.end(), "PERSON")


def _apart(found: list[Found], text: str) -> list[Found]:
    """Without overlaps: what was found first stays whole, and of the others what it leaves."""
    taken = bytearray(len(text))
    kept = []
    for one in found:
        start, end = one.start, one.end
        while start < end and taken[start]:
            start += 1
        while start < end and taken[end - 1]:
            end -= 1
        # What is left of a stretch is only worth hiding when it has a number.
        whole = (start, end) == (one.start, one.end)
        left = text[start:end]
        if left and (whole or _DIGIT.search(left)) and not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            kept.append(Found(start, end, one.kind))
    return sorted(kept)
