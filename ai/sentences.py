"""A text's sentences, and the words that they are compared by; English, German, French, Spanish."""

import re
import unicodedata

_ABBREVIATIONS = """
mr mrs ms dr prof sr jr st no vs inc ltd co corp dept est approx fig e.g i.e a.m p.m u.s
z.b d.h u.a o.ä i.d.r bzw ca usw nr str hr fr evtl ggf inkl zzgl vgl mio mrd abs tel
m mme mlle mm p.ex env réf av bd art
sra srta dra ud uds p.ej ej núm pág aprox avda ee.uu
"""
_ABBREVIATED = frozenset(_ABBREVIATIONS.split())
# Where a sentence may end: after its mark and whatever closes with it, before what may begin one.
# The escapes are typographic quotes.
_CLOSING = "[.!?\u2026]+(?:\\s?[\"'\u00bb\u201d\u2019)\\]])*"
_OPENING = "[\"'\u201e\u201c\u00ab\u2039(\\[¿¡]*\\s?[A-ZÀ-ÖØ-Þ0-9]"
_END = re.compile(rf"{_CLOSING}\s+(?={_OPENING})")
_PARAGRAPH = re.compile("\n\\s*\n|\n(?=\\s*(?:[-*•\u2013]|\\d+[.)])\\s)")
_LAST_WORD = re.compile(rf"(\S+?){_CLOSING}\s*$")
_WORD = re.compile(r"[^\W_]+")
# Of words longer than this the beginning is compared, which serves as a stemmer for any language
# that inflects at the end (F. Can et al., Information retrieval on Turkish texts, JASIST 59, 2008).
_STEM = 5
# Words that say nothing by themselves, without accents.
_EMPTY_WORDS = """
a about after all also an and any are as at be been but by can could did do does for from had has
have he her his how i if in into is it its me more most my no not of on or our she should so some
than that the their them then there these they this to up us was we were what when where which
while who whom whose why will with would you your please question
aber als am an auch auf aus bei bin bis das dass dem den der des die doch du durch ein eine einem
einen einer eines er es fur hat haben hatte ich ihr im ist ja kann mit nach nicht noch nur ob oder
sein sich sie sind uber um und uns unser von vor war waren warum was welche welcher welches wenn
wer wie wird wir wo wurde zu zum zur bitte frage
au aux avec ce ces cette dans de des du elle en est et eu il ils je la le les leur lui mais nous ou
par pas pour qu que quel quelle quelles quels qui quoi sa se ses son sont sur un une vous y
comment pourquoi quand
al como con cual cuales cuando cuanto del donde el ella entre era esta este fue ha han hay las lo
los mas muy o para pero porque quien sin sobre su sus una ya pregunta
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())


def split(text: str) -> list[str]:
    """The sentences in their order and wording, white space aside."""
    return [
        sentence
        for paragraph in _PARAGRAPH.split(text)
        for sentence in _of_paragraph(" ".join(paragraph.split()))
    ]


def stems(text: str) -> list[str]:
    """What the text's words are compared by; none for words that say nothing by themselves."""
    words = _WORD.findall(_plain(text))
    return [word[:_STEM] for word in words if word not in _EMPTY]


def _of_paragraph(text: str) -> list[str]:
    found, begin = [], 0
    for end in _END.finditer(text):
        if _goes_on(text[begin : end.end()]):
            continue
        found.append(text[begin : end.end()].strip())
        begin = end.end()
    if rest := text[begin:].strip():
        found.append(rest)
    return found


def _goes_on(piece: str) -> bool:
    """Whether what looks like an end is an abbreviation, an initial, or a German "3. März"."""
    last = _LAST_WORD.search(piece)
    if last is None or not piece.rstrip().endswith("."):
        return False
    word = last[1].lstrip("(\"'[").lower()
    return (
        word in _ABBREVIATED
        or (len(word) == 1 and word.isalpha())
        or (word.isdigit() and len(word) <= 2)
    )


def _plain(text: str) -> str:
    """Lower case, without accents: they are often left out in mail."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
