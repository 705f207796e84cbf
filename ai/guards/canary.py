"""Canaries: a token in the system prompt that no answer has a reason to contain.

An answer with it, however it is spelt, has given away what only the model was told.
"""

import base64
import codecs
import re

from ai.guards.decoding import decoded
from ai.guards.normalise import scored

# 20 letters and digits of base32 hold 100 bits; 12 of them in a row do not come about by chance.
_BYTES, _LETTERS, _ENOUGH = 13, 20, 12
_NOT_SPELT = re.compile(r"[\W_]+")
_SPACE = re.compile(r"\s+")


def make(chance: bytes) -> str:
    """A canary of 20 lower-case letters and digits.

    chance: 13 random bytes or more, such as of secrets.token_bytes; the same ones make the same
    canary. Raises ValueError for fewer.
    """
    if len(chance) < _BYTES:
        raise ValueError(f"a canary takes {_BYTES} random bytes, not {len(chance)}")
    return base64.b32encode(chance[:_BYTES]).decode().lower()[:_LETTERS]


def leaked(text: str, canary: str) -> bool:
    """Whether the text has the canary, or 12 characters of it in a row.

    Also in capitals, with anything between its characters, reversed, in ROT13, in look-alike or
    invisible characters, in base64, base32, hexadecimal and the other codes of decoding.decoded().
    """
    spellings = [text, *(code.text for code in decoded(text))]
    joined = _SPACE.sub("", text)
    codes = [code for piece in _pieces(canary) for code in _inside_codes(piece)]
    return any(_spelt(spelling, canary) for spelling in spellings) or any(
        code in joined for code in codes
    )


def _spelt(text: str, canary: str) -> bool:
    bare = _NOT_SPELT.sub("", scored(text))
    return any(
        reading in bare
        for piece in _pieces(canary)
        for reading in (piece, piece[::-1], codecs.encode(piece, "rot13"))
    )


def _pieces(canary: str) -> list[str]:
    return [canary[at : at + _ENOUGH] for at in range(len(canary) - _ENOUGH + 1)]


def _inside_codes(piece: str) -> list[str]:
    """The piece as it looks inside a longer text in base64 or in hexadecimal, in either case."""
    found = []
    for spelt in (piece.encode(), piece.upper().encode()):
        found += [spelt.hex(), spelt.hex().upper()]
        for before in range(3):
            # What shares a character with its neighbours is cut off: 4 characters hold 3 bytes.
            whole = base64.b64encode(b"\0" * before + spelt).decode()
            start, end = (before * 8 + 5) // 6, (before + len(spelt)) * 8 // 6
            found.append(whole[start:end])
    return found
