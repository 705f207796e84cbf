"""Numbers that states give to persons, each by its form and its check digits.

Check digits as the authorities state them; where a form has none, or is no more than digits, the
number has to stand beside a word that says what it is.
"""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from ai.guards.pii_found import Found, said_before
from ai.guards.pii_numbers import luhn


@dataclass(frozen=True)
class Scheme:
    """A kind of number.

    form: how it is written. valid: of its digits and letters, without separators. named: the word
    has to stand before it, since others write numbers like it.
    """

    form: re.Pattern[str]
    valid: Callable[[str], bool]
    named: bool = False


def identities(text: str) -> Iterator[Found]:
    """National insurance, tax and personal numbers of 22 countries; passports and driving licences
    beside their word."""
    for scheme in _SCHEMES:
        for match in scheme.form.finditer(text):
            written = re.sub(r"[\s\u00a0./-]", "", match[0]).upper()
            if not scheme.valid(written):
                continue
            if not scheme.named or said_before(text, match.start(), _WORDS):
                yield Found(match.start(), match.end(), "IDENTITY")
    for match in _DOCUMENT.finditer(text):
        yield Found(match.start("number"), match.end("number"), "IDENTITY")


_WORDS = re.compile(
    r"\bssn\b|social security|\bitin\b|\btin\b|\bsin\b|social insurance|national insurance"
    r"|\bnino?\b"
    r"|\bnhs\b|steuer|\bidnr\b|\btax\b|personal (?:number|id|identi)|\bnational id"
    r"|\bid[ -](?:card|no)"
    r"|identi|\bbsn\b|burgerservice|sofinummer|\bpesel\b|\bcpf\b|\bcnpj\b|\bnif\b|\bnie\b|\bdni\b"
    r"|codice fiscale|fiscal|personnummer|f[øo]dselsnummer|\bcpr\b|henkil[öo]tunnus|\bhetu\b"
    r"|rodn[ée] [čc][íi]slo|\bahv\b|\bavs\b|aadhaar|\bpan\b|\btfn\b|s[ée]curit[ée] sociale"
    r"|num[ée]ro national|rijksregister|\bcurp\b|\btckn?\b|kimlik|\bpps\b|cédula|social",
    re.IGNORECASE,
)

_DOCUMENT = re.compile(
    r"(?i:passport|reisepass|passeport|pasaporte|passaporto|paspoort|dri(?:ver|ving)(?:['’]?s?)?"
    r"[ -]licen[cs]e|licen[cs]e plate|f[üu]hrerschein|permis de conduire|patente|personalausweis"
    r"|identity card|id card|national id|medicare)"
    r"(?:[ -]?(?i:number|nummer|num[ée]ro|n[úu]mero|numero|no|nr|n°|id|card))?[.:]?\s*"
    r"(?i:is|ist|est|es|è|was|#|:|-|=|\()*\s*"
    r"(?P<number>(?=[A-Z0-9-]*\d[A-Z0-9-]*\d[A-Z0-9-]*\d)[A-Z0-9](?:[ -]?[A-Z0-9]){4,19})(?![\w])"
)


def _weighted(digits: str, weights: list[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _ssn(number: str) -> bool:
    # 9xx are the tax numbers of those who have no social security number (ITIN).
    return number[:3] not in ("000", "666") and number[3:5] != "00" and number[5:] != "0000"


def _nino(number: str) -> bool:
    return number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _nhs(number: str) -> bool:
    check = 11 - _weighted(number, list(range(10, 1, -1))) % 11
    return check != 10 and check % 11 == int(number[9])


def _steuer_id(number: str) -> bool:
    counts = sorted(number[:10].count(digit) for digit in set(number[:10]))
    if number[0] == "0" or counts[-1] not in (2, 3) or (len(counts) > 1 and counts[-2] > 1):
        return False
    product = 10
    for digit in number[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(number[10])


def _nir(number: str) -> bool:
    digits = number.replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and 97 - int(digits[:13]) % 97 == int(digits[13:])


def _dni(number: str) -> bool:
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


_ODD = {**dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)),
        **dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20,
                   11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True))}  # fmt: skip


def _codice_fiscale(number: str) -> bool:
    odd = sum(_ODD[character] for character in number[:15:2])
    even = sum(int(c) if c.isdigit() else ord(c) - ord("A") for c in number[1:15:2])
    return chr((odd + even) % 26 + ord("A")) == number[15]


def _bsn(number: str) -> bool:
    return (_weighted(number, [9, 8, 7, 6, 5, 4, 3, 2]) - int(number[8])) % 11 == 0


def _pesel(number: str) -> bool:
    check = -_weighted(number, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10
    return check == int(number[10]) and 1 <= int(number[2:4]) % 20 <= 12 and number[4:6] <= "31"


def _cpf(number: str) -> bool:
    if len(set(number)) == 1:
        return False
    first = _weighted(number, list(range(10, 1, -1))) * 10 % 11 % 10
    second = _weighted(number, list(range(11, 1, -1))) * 10 % 11 % 10
    return number[9:] == f"{first}{second}"


def _cnpj(number: str) -> bool:
    weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]
    first = 11 - _weighted(number, weights[1:]) % 11
    second = 11 - _weighted(number, weights) % 11
    return number[12:] == f"{first if first < 10 else 0}{second if second < 10 else 0}"


def _belgian(number: str) -> bool:
    return any(97 - int(born + number[:9]) % 97 == int(number[9:]) for born in ("", "2"))


def _swedish(number: str) -> bool:
    number = number.replace("+", "")[-10:]
    return luhn(number) and 1 <= int(number[2:4]) <= 12 and 1 <= int(number[4:6]) % 60 <= 31


def _hetu(number: str) -> bool:
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number[:6] + number[-4:-1]) % 31] == number[-1]


def _dated(number: str) -> bool:
    try:
        date(2000 + int(number[4:6]), int(number[2:4]), int(number[:2]))
    except ValueError:
        return False
    return True


def _norwegian(number: str) -> bool:
    return (
        _weighted(number, [3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 == 0
        and _weighted(number, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 == 0
    )


def _czech(number: str) -> bool:
    return int(number) % 11 == 0 and 1 <= int(number[2:4]) % 50 % 20 <= 12


def _ahv(number: str) -> bool:
    return -_weighted(number, [1, 3] * 6) % 10 == int(number[12])


def _nif(number: str) -> bool:
    check = 11 - _weighted(number, list(range(9, 1, -1))) % 11
    return (check if check < 10 else 0) == int(number[8])


def _chinese(number: str) -> bool:
    weights = [2 ** (17 - position) % 11 for position in range(17)]
    return "10X98765432"[_weighted(number[:17], weights) % 11] == number[17]


def _korean(number: str) -> bool:
    weighted = _weighted(number, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5])
    return (11 - weighted % 11) % 10 == int(number[12])


# Products in the group of the symmetries of a pentagon, row by row, and the permutation.
_D = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_P = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _P.append([_P[-1][digit] for digit in _P[1]])


def _aadhaar(number: str) -> bool:
    """J. Verhoeff, "Error Detecting Decimal Codes", 1969."""
    check = 0
    for position, digit in enumerate(reversed(number)):
        check = int(_D[check][_P[position % 8][int(digit)]])
    return check == 0


def _always(_number: str) -> bool:
    return True


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.,-]){pattern}(?![\w]|[.,-]\d)")


_SCHEMES = (
    Scheme(_form(r"\d{3}([- ])\d{2}\1\d{4}"), _ssn),
    Scheme(_form(r"\d{9}"), _ssn, named=True),
    Scheme(_form(r"(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D])"), _nino),
    Scheme(_form(r"\d{3} ?\d{3} ?\d{4}"), _nhs, named=True),
    Scheme(_form(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"), _steuer_id, named=True),
    Scheme(_form(r"[1-478] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d"), _nir),
    Scheme(_form(r"(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]"), _dni),
    Scheme(_form(r"(?i:[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z])"),
           _codice_fiscale),
    Scheme(_form(r"\d{4}[. ]?\d{2}[. ]?\d{3}"), _bsn, named=True),
    Scheme(_form(r"\d{11}"), _pesel, named=True),
    Scheme(_form(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), _cpf),
    Scheme(_form(r"\d{11}"), _cpf, named=True),
    Scheme(_form(r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}"), _cnpj),
    Scheme(_form(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"), _belgian),
    Scheme(_form(r"(?:19|20)?\d{6}[-+]\d{4}"), _swedish),
    Scheme(_form(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]"), _hetu),
    Scheme(_form(r"\d{6}[- ]?\d{4}"), _dated, named=True),
    Scheme(_form(r"\d{6} ?\d{5}"), _norwegian, named=True),
    Scheme(_form(r"\d{6}/\d{4}"), _czech),
    Scheme(_form(r"756\.\d{4}\.\d{4}\.\d{2}"), _ahv),
    Scheme(_form(r"\d{3} ?\d{3} ?\d{3}"), _nif, named=True),
    Scheme(_form(r"\d{3}[- ]?\d{3}[- ]?\d{3}"), luhn, named=True),
    Scheme(_form(r"[1-9]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d{4}[\dX]"), _chinese),
    Scheme(_form(r"\d{6}-[1-8]\d{6}"), _korean),
    Scheme(_form(r"[2-9]\d{3}[ -]\d{4}[ -]\d{4}"), _aadhaar),
    Scheme(_form(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"), _always, named=True),
    Scheme(_form(r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{5}[A-Z\d]\d"), _always),
)  # fmt: skip
