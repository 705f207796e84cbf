"""Text as it is sent on and as it is scored: what a reader does not see, a model does not get.

The classes of invisible and look-alike characters follow Unicode Technical Standard 39
(confusables), UTS 51 (emoji sequences) and UAX 31 (where the joiners are part of a word).
"""

# ruff: noqa: RUF001, RUF003 - look-alikes are what this is about

import re
import unicodedata

_TAGS = re.compile("[\U000e0000-\U000e007f]+")
# The three flags whose emoji are spelt with tags: England, Scotland, Wales (UTS 51, RGI).
_FLAG = re.compile(
    "(\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    "|\U000e0077\U000e006c\U000e0073)\U000e007f)"
)
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SELECTOR_RUN = re.compile(f"[{_SELECTORS}]{{2,}}")
_EMOJI = "\u00a9\u00ae\u203c\u2049\u2122-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
# Scripts whose spelling needs the joiners: Arabic to Khmer, and Mongolian.
_JOINING = "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc"
_IDEOGRAPH = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_UNSEEN = re.compile(
    "(?P<line>\r\n?|[\x0b\x0c\x85\u2028\u2029])"
    "|[\x00-\x08\x0e-\x1f\x7f-\x9f]"  # controls but tab and line feed
    "|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]"
    f"|(?<![{_JOINING}])\u200c|\u200c(?![{_JOINING}])"
    f"|(?<![{_JOINING}{_EMOJI}\ufe0f])\u200d|\u200d(?![{_JOINING}{_EMOJI}])"
    f"|(?<![{_EMOJI}0-9#*])[\ufe0e\ufe0f]|(?<=[0-9#*])[\ufe0e\ufe0f](?!\u20e3)"
    f"|[\ufe00-\ufe0d]|(?<![{_IDEOGRAPH}])[\U000e0100-\U000e01ef]"
    "|(?P<broken>[\ud800-\udfff])"
)
_PLAIN = re.compile("[\t\n\x20-\x7e]*")
# NFKC would make 10² into 102 and 1½ into 11⁄2; what is scored has them folded all the same.
_KEPT_APART = re.compile(
    "([\u00aa\u00b2\u00b3\u00b9\u00ba\u00bc-\u00be\u2070-\u209c\u2122\u2120\u2150-\u215e\u2189])"
)
_WORD = re.compile(r"\w+")
_LATIN = re.compile("[A-Za-z]")
# Look-alikes of Latin letters in Cyrillic, Greek and Armenian (UTS 39's confusables, the letters).
_ALIKE = str.maketrans(
    "аАвВеЕкКмМнНоОрРсСтТуУхХіІјЈѕЅԁԛԝһӏьЬ"
    "αΑβΒεΕζΖηΗικΚμΜνΝοΟρΡτΤυΥχΧιΙγϲ"
    "օսոհցզ"
    "ıɡɑɩʏɪʀɴʟᴀᴄᴅᴇᴋᴍᴏᴘᴛᴜᴠᴡᴢøØłŁđĐ",
    "aAbBeEkKmMhHoOpPcCtTyYxXiIjJsSdqwhlbb"
    "aAbBeEzZnHikKuMvNoOpPtTuYxXiIyc"
    "ounhgq"
    "igaiyirnlacdekmoptuvwzoOlLdD",
)
_LETTERS_ALIKE = frozenset(chr(code) for code in _ALIKE)


def normalise(text: str) -> str:
    """The text as it is sent on: NFKC, without what no reader sees.

    Gone are control characters (line ends become \\n), zero-width and bidirectional controls, tag
    characters, soft hyphens, and variation selectors that select nothing. What spelling or emoji
    need stays: the joiners within Arabic, Persian, Indic and Mongolian words and between emoji,
    one selector after an emoji or an ideograph, the three flags spelt with tags; also ², ½ and
    their like, which NFKC would merge with the digit before. Look-alike letters stay as they are.
    Idempotent. A lone surrogate becomes U+FFFD, so that the text can be encoded.
    """
    if _PLAIN.fullmatch(text):
        return text
    while (shorter := _once(text)) != text:  # what is taken away can bring a joiner to a new place
        text = shorter
    return text


def scored(text: str) -> str:
    """The text as it is scored, never sent: in_latin() in lower case."""
    return text.lower() if text.isascii() else in_latin(text).casefold()


def in_latin(text: str) -> str:
    """The text with marks and look-alikes folded into Latin, to compare it by.

    A word is folded when it mixes Latin with look-alikes or is nothing but look-alikes, so that
    Russian and Greek words stay what they are.
    """
    if text.isascii():
        return normalise(text)
    split = unicodedata.normalize("NFKD", normalise(text))
    bare = "".join(c for c in split if not ("\u0300" <= c <= "\u036f" or c in "\u20dd\u20de\u20e3"))
    return _WORD.sub(_in_latin, unicodedata.normalize("NFKC", bare))


def hidden(text: str) -> list[str]:
    """What is written in characters nobody sees: ASCII in tags, bytes in variation selectors."""
    if text.isascii():
        return []
    in_tags = (
        "".join(chr(ord(c) - 0xE0000) for c in run if 0xE0020 <= ord(c) <= 0xE007E)
        for run in _TAGS.findall(_FLAG.sub("", text))
    )
    in_selectors = (
        bytes(_byte(c) for c in run).decode("utf-8", "ignore")
        for run in _SELECTOR_RUN.findall(text)
    )
    return [found for found in (*in_tags, *in_selectors) if found.strip()]


def _once(text: str) -> str:
    around_flags = _FLAG.split(text)
    around_flags[::2] = [_TAGS.sub("", part) for part in around_flags[::2]]
    parts = _KEPT_APART.split(_UNSEEN.sub(_instead, "".join(around_flags)))
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    return "".join(parts)


def _instead(found: re.Match[str]) -> str:
    return "\n" if found["line"] else "\ufffd" if found["broken"] else ""


def _byte(selector: str) -> int:
    """The byte a variation selector stands for when they are misused as an alphabet of 256."""
    code = ord(selector)
    return code - 0xFE00 if code <= 0xFE0F else code - 0xE0100 + 16


def _in_latin(word: re.Match[str]) -> str:
    letters = word[0]
    alike = _LETTERS_ALIKE.intersection(letters)
    if alike and (_LATIN.search(letters) or alike.issuperset(letters)):
        return letters.translate(_ALIKE)
    return letters
