"""Personal data that shows by its form: e-mail and IP addresses, card and bank account numbers.

Card numbers: ISO/IEC 7812 (issuer's digits, length, Luhn's check). IBAN: ISO 13616 with the lengths
of its registry, check by ISO 7064 mod 97-10.
"""

import ipaddress
import re
from collections.abc import Iterator

from ai.guards.pii_found import Found, said_before

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.!#$%&*+/=?^`{|}~-]*[\w+-](?:@|\s?[\[({]\s?(?:at|AT|ät)\s?[\])}]\s?)"
    r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?(?:\.|\s?[\[({]\s?(?:dot|DOT|punkt)\s?[\])}]\s?))+[^\W\d_]{2,24}(?![\w@])"
    r"|(?<![\w.+-])[\w.+-]{1,64}@\[?\d{1,3}(?:\.\d{1,3}){3}\]?"
)

_V4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_V6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{4,39}(?:\.\d{1,3}){0,3}(?![\w:])"
)
_VERSION = re.compile(r"(?:\bversion|\brelease|\bv|§|\bsection)\s*\.?$", re.IGNORECASE)

# Digits in groups, each apart from the next by one space, hyphen or dot.
_CARD = re.compile(r"(?<![\w.,-])(?<!\d )\d(?:[ \u00a0.-]?\d){11,18}(?![\w]|[.,-]\d)")
_CARD_WORDS = re.compile(
    r"\bcards?\b|\bcc\b|credit|debit|visa|master ?card|amex|maestro|karte|carte|tarjeta|cart[ãa]o"
    r"|carta|kaart|kort|karta|kreditnummer",
    re.IGNORECASE,
)
_OTHER_WORDS = re.compile(
    r"order|purchase|invoice|bill|track|parcel|shipment|ticket|reference|\bref\b|\bsku\b|article"
    r"|product|bestell|rechnung|commande|facture|pedido|factura|ordine|fattura|zam[óo]wieni",
    re.IGNORECASE,
)
# Issuers' first digits and the lengths of their numbers, of those in wide use.
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}|3(?:0[0-5]|[68]\d)\d{13}"  # Diners
    r"|35(?:2[89]|[3-8]\d)\d{12}|(?:2131|1800)\d{11}"  # JCB
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}(?:\d{3})?"  # Discover
    r"|62\d{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"  # Maestro
)

_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})(\d{2})((?:[ \u00a0-]?[A-Za-z0-9]){11,30})")
# The registry's lengths (ISO 13616, release 99).
_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FO FI GL NL SD FK", "19": "MK SI",
        "20": "AT BA EE KZ XK LT LU MN", "21": "HR LV LI CH", "22": "BH BG CR GE DE IE ME RS GB VA",
        "23": "TL IQ AE GI IL OM SO", "24": "AD CZ MD PK RO SA SK ES SE TN VG DZ",
        "25": "PT ST LY", "26": "IS TR", "27": "BI FR GR IT MC MR SM DJ BF CM",
        "28": "AL AZ BY CY DO SV GT HU LB NI PL", "29": "BR EG PS QA UA", "30": "JO KW MU",
        "31": "MT SC", "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def emails(text: str) -> Iterator[Found]:
    """Also with (at) and (dot), as people write them to hide them."""
    if "@" not in text and not re.search(r"[\[({]\s?(?:at|ät)\s?[\])}]", text, re.IGNORECASE):
        return
    for match in _EMAIL.finditer(text):
        yield Found(match.start(), match.end(), "EMAIL")


def addresses_of_computers(text: str) -> Iterator[Found]:
    """IPv4 and IPv6, but for loopback and the address of nobody; versions are none."""
    for pattern in (_V4, _V6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if address.is_loopback or address.is_unspecified:
                continue
            if not _VERSION.search(text, max(0, match.start() - 12), match.start()):
                yield Found(match.start(), match.end(), "IP")


def cards(text: str) -> Iterator[Found]:
    """Numbers that pass Luhn's check and are of a known issuer; of any issuer beside a word such
    as card. One number in ten passes Luhn's check by chance, so that after a word such as order
    none is taken."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if not luhn(digits) or len(set(digits)) == 1:
            continue
        plain = _ISSUERS.fullmatch(digits) and not said_before(text, match.start(), _OTHER_WORDS)
        if plain or said_before(text, match.start(), _CARD_WORDS, 60):
            yield Found(match.start(), match.end(), "CARD")


def ibans(text: str) -> Iterator[Found]:
    """Bank accounts, with or without spaces, by the length of their country and the check."""
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[1].upper())
        if length is None:
            continue
        places = [i for i in range(match.start(), match.end()) if text[i].isalnum()][:length]
        follows = text[places[-1] + 1 : places[-1] + 2]
        number = "".join(text[i] for i in places).upper()
        if len(number) == length and not follows.isalnum() and mod_97(number[4:] + number[:4]) == 1:
            yield Found(match.start(), places[-1] + 1, "IBAN")


def luhn(digits: str) -> bool:
    """The check of ISO/IEC 7812-1, annex B."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + position % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def mod_97(text: str) -> int:
    """Of digits and letters, A being 10 (ISO 7064)."""
    return int("".join(str(int(character, 36)) for character in text)) % 97
