"""Telephone numbers, by the numbering plans in Google's libphonenumber."""

import re
from collections.abc import Iterator, Sequence

from phonenumbers import Leniency, PhoneNumberMatcher

from ai.guards.pii_found import Found, said_before

# Where a number written without its country's code may be of; tenants' customers are anywhere.
REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH", "PL", "CZ", "SE", "NO", "DK", "FI",
    "PT", "IE", "BR", "MX", "AR", "IN", "AU", "NZ", "ZA", "JP",
)  # fmt: skip

_DIGITS = r"(?:\d[ \u00a0\u2009./\u2010\u2011\u2013-]{0,2}|\(\d{1,5}\)[ \u00a0]?)"
_NUMBER = re.compile(
    rf"(?<![\w./#$€£•*-])(?<!\d[,:])(?P<number>(?:\+|00)?[ ]?{_DIGITS}{{5,18}}(?<=\d))"
    r"(?:\s?(?:x|ext\.?|extension|Durchwahl|poste|#)\s?\d{1,6})?(?![\w%€$£])(?![.,:-]\d)"
)
_WORDS = re.compile(
    r"\b(?:tele)?(?:phone|fon|f[oó]n|fono)s?\b|\bt[eé]l(?:efon\w*|[eé]phone|efoon)?\b\.?|\bmobil\w*"
    r"|\bcell(?:ulare?)?\b|\bcelular\b|\bm[oó]vil\b|\bportable\b|\bfax\b|\bcall(?:s|ed|ing)?\b"
    r"|\bdesk\b|\bhandy\b|\bgsm\b|\bwhats ?app\b|\bsms\b|\btext me\b|\brufnummer\b|\bdial\w*\b"
    r"|\bring\b|\brappele\w*|\bappele\w*|\bll[aá]m\w*|\bchiam\w*|\banrufen\b|\breach (?:me|us"
    r"|him|her)"
    r"|\banswering\b|\bregistered\b|\bnumer\b|\bcontact(?: (?:number|me|us))?\b|\bhotline\b"
    r"|\bcomm?ut\w*",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"[ \t]*[-(,]?[ \t]*(?:office|fax|mobile|cell|home|work|desk|direct|phone)\b", re.IGNORECASE
)
_OTHER_WORDS = re.compile(
    r"order|purchase|deal|price|amount|invoice|bill|account|track|parcel|shipment|ticket|case"
    r"|card|reference|\bref\b"
    r"|transaction|\bid\b|\bsku\b|serial|batch|\blot\b|model|article|product|version|bestell|rechnung|konto|commande"
    r"|facture|pedido|factura|cuenta|ordine|fattura|zam[óo]wieni|faktur|iban|\bbic\b|licen[cs]e"
    r"|security|\bssn\b|passport|\bzip\b|postal|\$|€|£|usd|eur",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[-/. ](?:0?\d|1[0-2])[-/. ][0-3]?\d|[0-3]?\d[-/. ][0-3]?\d[-/. ](?:19|20)\d\d"
    r"|[0-3]?\d[-/.][0-3]?\d[-/.]\d\d|(?:19|20)\d\d ?[-\u2013/] ?(?:19"
    r"|20)\d\d)(?:[ T,-]+\d{1,2}(?:[ :.h]\d\d)*)?"
)
# A national number with its separators: less than this is as often an amount or a code.
_FEWEST = 9
# E.164, and the 00 before it.
_MOST = 17


def phones(text: str, regions: Sequence[str] = REGIONS) -> Iterator[Found]:
    """Numbers with + or 00, or with the separators of a national number that is valid in one of
    the regions; of 6 digits and more beside a word such as phone. Digits alone, in one run, and
    those after a word such as order are none."""
    for match in _NUMBER.finditer(text):
        if _is_phone(text, match, regions):
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            yield Found(start, match.end(), "PHONE")


def _is_phone(text: str, match: re.Match[str], regions: Sequence[str]) -> bool:
    written = match[0].strip()
    count = sum(character.isdigit() for character in match["number"])
    if count > _MOST:
        return False
    if _DATE.fullmatch(written):
        return False
    beside = said_before(text, match.start(), _WORDS) or _AFTER.match(text, match.end())
    if said_before(text, match.start(), _OTHER_WORDS, 24) and not beside:
        return False
    if beside and count >= 6:
        return True
    if written.startswith(("+", "00")) and not written.isdigit():
        international = "+" + written.lstrip("+0 ")
        return count >= 8 and _matches(international, None, Leniency.POSSIBLE)
    if written.isdigit() or count < _FEWEST:
        return False
    return _valid(written, regions)


def _valid(written: str, regions: Sequence[str]) -> bool:
    """Whether it is a number of one of the regions, in the groups that are usual there."""
    return any(_matches(written, region, Leniency.STRICT_GROUPING) for region in regions)


def _matches(written: str, region: str | None, leniency: int) -> bool:
    return bool(PhoneNumberMatcher(written, region, leniency, max_tries=2).has_next())
