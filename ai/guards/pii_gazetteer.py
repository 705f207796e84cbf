"""Finds a tenant's customers in a text, by the names that its CRM has of them."""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ai.guards.pii_found import Found
from ai.guards.pii_words import folded, is_common, proper_words
from ai.guards.placeholders import Kind

# Scripts that are written without spaces are compared letter by letter.
_UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_]|(?<=\w)[\u0300-\u036f])+")
_GAP = re.compile(r"[ \t\u00a0.,'’&+/·-]{0,3}(?:\r?\n[ \t]{0,8})?")
_SENTENCE_END = re.compile(r"(?:\A|[.!?:;>\"“”«»(\[{|*•\n-])[ \t\u00a0\"'“”«»(]*\Z")
_TITLES_WORDS = """
    mr mrs ms miss mx dr prof sir madam dame rev herr frau dipl ing mag monsieur madame mme mlle
    senor senora sr sra srta don dona dott sig signor signora ir drs dhr mevr pan pani jr md phd
    mba esq ii iii iv bsc msc
"""
_TITLES = frozenset(_TITLES_WORDS.split())
_LEGAL_WORDS = """
    inc incorporated llc ltd limited plc llp lp co corp corporation company gmbh ag kg kgaa ohg
    gbr ug ek ev mbh se sa sas sarl sasu eurl sci spa srl snc sl slu bv nv vof cv oy oyj ab as
    asa aps sp zoo ooo oao zao kft bt zrt sro doo dd pty pte pvt sdn bhd ltda eireli lda holding
    holdings group gruppe groupe grupo gruppo
"""
_LEGAL = frozenset(_LEGAL_WORDS.split())
_COMPANY_WORDS = """
    and und et y e the bank capital partners consulting solutions services systems software
    technologies technology labs media studio studios university institute foundation
    association agency club hotel restaurant insurance versicherung industries international
    global energy health data analytics digital networks logistics finance financial ventures
    brothers sons verein stiftung werke handel
"""
_OF_COMPANIES = frozenset(_COMPANY_WORDS.split())
# Written small within names.
_SMALL_WORDS = """
    of the and und et y e de la le du da do del van von der den di
"""
_SMALL = frozenset(_SMALL_WORDS.split())
# Case endings of names in Slavic, Baltic, Finnic and Hungarian texts, and the s of the genitive.
_ENDING = re.compile(
    "(?:[ie]*go|[ie]*mu|ami|owi|ovi|ov[aeyiu]|ow[aeyiu]|ovou|ych|ich|ym|im|nen|se[nl]|selle|sta|ssa"
    "|lle|lta|n[ae]k|[ve]m|om|es|s|ого|ому|ым|ом|ой|ем)?[aeiouyауеыиойя]*$"
)
_FEWEST_LETTERS = 3
_MOST_LETTERS = 40


class _Token(NamedTuple):
    start: int
    end: int
    key: str
    capital: bool


class Gazetteer:
    """A tenant's names, made ready once; looking through a text takes time by the text's length
    and not by the number of names.

    names: of persons and companies, as the CRM writes them. Found whatever their case and
    diacritics: whole names, with or without titles, middle names and legal forms, surname first,
    and inflected; a person's first name or surname alone, with a capital. One that is also a
    common word is taken with a capital within a sentence only, and of a person's name, where the
    whole name stands in the same text.
    parts: whether parts of persons' names are looked for, too.
    """

    def __init__(self, names: Iterable[str], *, parts: bool = True) -> None:
        self._with_parts = parts
        self._whole: dict[str, Kind] = {}
        self._stems: dict[str, Kind] = {}
        self._longest: dict[str, int] = {}
        self._alone: set[str] = set()
        self._alone_stems: dict[str, Kind] = {}
        self._words: dict[str, Kind] = {}
        self._spelt: dict[str, set[str]] = {}
        for name in names:
            self._add(name)

    def find(self, text: str) -> Iterator[Found]:
        """Names in the text, in its order; none overlaps another."""
        tokens = _tokens(text)
        lower = not any(token.capital for token in tokens)
        told = self._told(tokens, text)
        at = 0
        while at < len(tokens):
            length, kind = self._match(tokens, at, text, lower, told)
            if kind:
                yield Found(tokens[at].start, tokens[at + length - 1].end, kind)
            at += max(length, 1)

    def _add(self, name: str) -> None:
        # Surname first.
        last, comma, first = name.partition(",")
        surname_first = comma and len(first.split()) in (1, 2) and len(last.split()) == 1
        if surname_first and folded(first.strip(" .")) not in _LEGAL:
            name = f"{first.strip()} {last.strip()}"
        written = _TOKEN.findall(name)
        keys = [folded(token) for token in written]
        while len(keys) > 1 and keys[0] in _TITLES:
            keys, written = keys[1:], written[1:]
        while len(keys) > 1 and keys[-1] in _TITLES:
            keys, written = keys[:-1], written[:-1]
        if not keys or len("".join(keys)) < 2:
            return
        kind = _kind(keys, name)
        self._enter(keys, kind)
        if kind == "COMPANY":
            while len(keys) > 1 and keys[-1] in _LEGAL:
                keys, written = keys[:-1], written[:-1]
                self._enter(keys, kind)
        if len(keys) == 1:
            self._spelt.setdefault(keys[0], set()).add(written[0])
            self._add_alone(keys[0], kind)
        elif kind == "PERSON" and self._with_parts:
            self._enter([keys[-1], *keys[:-1]], kind)
            if len(keys) > 2:
                self._enter([keys[0], keys[-1]], kind)
            for key in filter(_is_telling, keys):
                self._alone.add(key)
                self._add_alone(key, kind)

    def _add_alone(self, key: str, kind: Kind) -> None:
        stem = _stem(key)
        if len(stem) > _FEWEST_LETTERS and not is_common(key) and not is_common(stem):
            self._alone_stems.setdefault(stem, kind)

    def _enter(self, keys: Sequence[str], kind: Kind) -> None:
        if len(keys) == 1 and is_common(keys[0]):
            self._words.setdefault(keys[0], kind)
            return
        self._whole.setdefault(" ".join(keys), kind)
        self._note_length(keys)
        if len(keys) > 1:
            stems = [_stem(key) for key in keys]
            self._stems.setdefault(" ".join(stems), kind)
            self._note_length(stems)

    def _note_length(self, keys: Sequence[str]) -> None:
        self._longest[keys[0]] = max(self._longest.get(keys[0], 0), len(keys))

    def _match(
        self, tokens: list[_Token], at: int, text: str, lower: bool, told: set[str]
    ) -> tuple[int, Kind | None]:
        token = tokens[at]
        longest = max(
            self._longest.get(token.key, 0),
            self._longest.get(_stem(token.key), 0) if token.capital else 0,
        )
        for length in range(min(longest, len(tokens) - at), 1, -1):
            kind = self._many(tokens[at : at + length], text)
            if kind:
                return length, kind
        return 1, self._one(token, text, lower, told)

    def _many(self, tokens: list[_Token], text: str) -> Kind | None:
        for before, after in pairwise(tokens):
            if not _GAP.fullmatch(text, before.end, after.start):
                return None
        capital = all(token.capital or token.key in _SMALL for token in tokens)
        kind = self._whole.get(" ".join(token.key for token in tokens))
        if kind:
            certain = capital or any(_is_telling(token.key) for token in tokens)
            return kind if certain else None
        if capital:
            return self._stems.get(" ".join(_stem(token.key) for token in tokens))
        return None

    def _one(self, token: _Token, text: str, lower: bool, told: set[str]) -> Kind | None:
        key = token.key
        written = text[token.start : token.end]
        if kind := self._whole.get(key):
            # H&M is seldom written h&m, and "sap" is no company.
            if len(key) <= _FEWEST_LETTERS and not key[0] > "\u3000":
                return kind if written in self._spelt.get(key, {written}) else None
            return kind
        if key in self._alone and (token.capital or lower):
            return "PERSON"
        if key in told and token.capital:
            return self._words.get(key, "PERSON")
        if key in self._words:
            return None
        return self._inflected(token) if token.capital and len(key) > 4 else None

    def _inflected(self, token: _Token) -> Kind | None:
        stem = _stem(token.key)
        if stem in self._alone_stems and not is_common(token.key):
            return self._alone_stems[stem]
        return None

    def _told(self, tokens: list[_Token], text: str) -> set[str]:
        """Common words that are names in this text: of persons' whole names that stand in it the
        parts, such as Will; and those with a capital within a sentence, such as Apple."""
        found: set[str] = set()
        for at, token in enumerate(tokens):
            if token.key in self._words and self._is_capital_within(token, text):
                found.add(token.key)
            for length in range(min(self._longest.get(token.key, 0), len(tokens) - at), 1, -1):
                whole = tokens[at : at + length]
                if self._many(whole, text) == "PERSON":
                    found.update(part.key for part in whole if len(part.key) >= _FEWEST_LETTERS)
                    break
        return found

    def _is_capital_within(self, token: _Token, text: str) -> bool:
        written = text[token.start : token.end]
        if not token.capital or written not in self._spelt.get(token.key, {written}):
            return False
        before = text[max(0, token.start - 8) : token.start]
        return token.key not in proper_words() and not _SENTENCE_END.search(before)


def _tokens(text: str) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(text):
        word = match[0]
        found.append(_Token(match.start(), match.end(), folded(word), not word[0].islower()))
    return found


def _is_telling(key: str) -> bool:
    return len(key) >= _FEWEST_LETTERS and not is_common(key)


def _stem(key: str) -> str:
    if not _FEWEST_LETTERS < len(key) <= _MOST_LETTERS:
        return key
    return _ENDING.sub("", key) or key


def _kind(keys: Sequence[str], name: str) -> Kind:
    if any(key in _LEGAL or key in _OF_COMPANIES for key in keys):
        return "COMPANY"
    if len(keys) > 5 or any(character.isdigit() or character in "&+@!" for character in name):
        return "COMPANY"
    return "PERSON" if len(keys) > 1 or keys[0] > "\u3000" else _kind_of_one(keys[0])


def _kind_of_one(key: str) -> Kind:
    return "COMPANY" if is_common(key) else "PERSON"
