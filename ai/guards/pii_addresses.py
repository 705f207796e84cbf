"""Postal addresses: a street with its number, a flat, a post box, and the town after them."""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import re
from collections.abc import Iterator

from ai.guards.pii_found import Found

_WORD = r"[^\W\d_](?:[^\W_]|['’.-](?=\w))*"
_CAPITAL_WORD = r"(?![a-zà-öø-ÿ])" + _WORD
_HOUSE = r"\d{1,6}(?:[ ]?[A-Za-z](?![A-Za-z]))?(?:[-/]\d{1,4}[A-Za-z]?)?"
_SUFFIX = (
    r"(?:street|str?|avenue|ave?|road|rd|lane|ln|drive|dr|boulevard|blvd|court|crt|place|plaza"
    r"|square|sq|way|terrace|ter|parkway|pkwy|highway|hwy|close|crescent|cres|circle|cir|trail|trl"
    r"|alley|row|quay|mews|grove|gardens|loop|pike|turnpike|bypass|esplanade|parade|walk|wynd)"
)
_COMPASS = r"(?:[NSEW]|[NS][EW]|North|South|East|West)\b\.?"
# 398 11th Street, 2450 N. Crown St
_ENGLISH = re.compile(
    rf"(?<![\w$€£.,]){_HOUSE},?[ ]+(?:{_COMPASS}[ ]+)?(?:(?:\d+(?:st|nd|rd|th)"
    rf"|{_CAPITAL_WORD})[ ]+){{1,4}}?"
    rf"(?i:{_SUFFIX})\b(?!['’])\.?(?:[ ]+{_COMPASS}(?=[\s,.]|$))?"
)
# rue de la Paix 12, Via Roma 131, Calle Mayor 5, ul. Długa 3, Rua Diadema 1903
_TYPE = (
    r"(?:(?i:rue|chemin|allée|impasse|calle|avda\.?|avenida|rua|travessa|praça|estrada|viale|piazza"
    r"|piazzale|vicolo|corso|paseo|plaza|carrera|ulica|ulice|aleja|aleje|třída|náměstí|nám\.|trg"
    r"|bulevar|strada|улица|проспект)|(?i:ul\.|al\.|c/|ctra\.?|bd\.?|boulevard|avenue|quai|cours)"
    r"|Via|Largo|Place|Route|Strada|Am|An der|Auf der|Im|Zum|Zur|Unter den)"
)
_NAMED = (
    rf"{_TYPE}[ ]+(?:(?:de|del|della|delle|dei|di|da|do|dos|das|du|des|la|le|les|los|las"
    r"|l['’]|d['’])[ ]?){0,3}"
)
_TYPED = re.compile(
    rf"(?<![\w./-])(?:{_NAMED}{_CAPITAL_WORD}|(?i:rue|calle|avenida|rua|ulica|viale"
    rf"|piazza)[ ]{_WORD})"
    rf"(?:[ ]+{_WORD}){{0,4}}?,?[ ]+(?:n\.?[º°o]?[ ]?)?{_HOUSE}(?![\w%])(?![.,:]\d)"
)
# 36 rue de pologne, 12 avenue Foch
_NUMBER_FIRST = re.compile(
    rf"(?<![\w$€£.,]){_HOUSE}(?:[ ]?(?:bis|ter))?,?[ ]+(?i:rue|avenue|av\.|bd\.?|boulevard"
    rf"|place|chemin|allée|quai|cours|impasse"
    rf"|route|passage|square)[ ]+(?:(?i:de|du|des|la|le|les|l['’]"
    rf"|d['’])[ ]?){{0,3}}{_WORD}(?:[- ]{_CAPITAL_WORD}){{0,3}}"
)
# Hauptstraße 5, Keizersgracht 12, Storgatan 3, Koskikatu 25, Kossuth Lajos utca 7
_COMPOUND = re.compile(
    rf"(?<![\w@./-])(?:{_CAPITAL_WORD}[ -]){{0,3}}?(?:[A-ZÀ-Þ][^\W\d_]{{2,}}?(?:straße|strasse"
    rf"|str\.|weg|gasse|platz|allee|damm"
    r"|ufer|straat|laan|plein|gracht|kade|dijk|singel|hof|gade|vej|vænget|stræde|gata|gatan"
    r"|vägen|vegen|veien"
    r"|gränd|torget|katu|tie|kuja|polku|vegur|stígur|götu|stien|bakken|alle|allé)"
    rf"|{_CAPITAL_WORD}[ -](?:utca|út|tér|körút|Straße|Strasse|Str\.|Weg|Platz|Allee|Gasse"
    rf"|[Ss]traat|[Ll]aan|plein|gate|gata|vei|veg|sgate))"
    rf"[ ]+{_HOUSE}(?![\w%])(?![.,:]\d)"
)
_BOX = re.compile(
    r"(?<!\w)(?i:p\.?[ ]?o\.?[ ]?box|post office box|postfach|boîte postale"
    r"|apartado(?: postal)?|casella postale|postbus|postboks|caixa postal"
    r"|psc|unit \d+,? box|cmr)[ ]+\d{1,6}(?:,?[ ]+[Bb]ox[ ]+\d+)?(?:,?\s+(?i:[AFD]PO[ ,]+(?:AA"
    r"|AE|AP))[ ,]+\d{5}(?:-\d{4})?)?"
    r"|(?<!\w)[AFD]PO[ ,]+(?:AA|AE|AP)[ ,]+\d{5}(?:-\d{4})?"
)
_FLAT_NUMBER = (
    r"(?i:suite|ste\.|apt\.?|apartment|flat|appartement|appt\.?|wohnung|whg\.?|piso|interno"
    r"|mieszkanie)[ ]+(?:#|no\.?)?[ ]?\d{1,5}[A-Za-z]?(?!\w)"
)
_FLAT = re.compile(rf"(?<!\w){_FLAT_NUMBER}")
_CODE = (
    r"\d{4}[ ]?[A-Z]{2}(?![A-Za-z])|(?:[A-Z]{1,2}-)?\d{4,6}(?:-\d{3,4})?|\d{3}[ ]\d{2}|\d{2}-\d{3}"
    r"|[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2}|[A-Z]\d[A-Z][ ]\d[A-Z]\d"
)
# What may stand between a street and the code of its town, token by token.
_BETWEEN = re.compile(
    rf"(?P<code>(?:{_CODE})(?![\w@-]|[.,:]\d))|{_FLAT_NUMBER}"
    rf"|[(]?[A-ZÀ-Þ][^\W\d_]*(?:['’./-][^\W\d_]+)*[)]?"
    r"|\d{1,2}(?:st|nd|rd|th)[ ]Floor|(?:[Ff]loor|[Ff]l\.|#)[ ]?\d{1,4}(?!\d)"
    r"|(?:de|da|do|du|la|le|les|sur|sous|am|an|der|in|u|nad|del|upon)\b"
)
_APART = re.compile(r"[ \t,.]*(?:\n[ \t>]*)?,?[ \t]*")
_TOWN = re.compile(rf"[ ]{_CAPITAL_WORD}(?=[ ]?[\n,.]|$)")
# As far as the longest address of the public set reaches beyond its street.
_FARTHEST = 110
_LED = re.compile(r"(?<![\w$€£.,:/-])\d{1,6}[ ]$")
# A code is only told from other numbers by the word before it.
_TOLD_CODE = re.compile(
    rf"(?i:zip(?: ?code)?|post(?:al|leit)? ?code|postcode|plz|postleitzahl|code postal"
    rf"|código postal|cap|cep|psč)"
    rf"(?i:[ ]*(?:is|ist|est|es|è|:|=|-|#)){{0,2}}[ ]*(?P<code>{_CODE}|\d{{3}}(?![\d.,]))(?![\w-])"
)
_TOLD = re.compile(
    r"(?<![\w-])(?<!ip )(?<!mail )(?<!web )(?i:address(?:es)?|adresse|anschrift|dirección"
    r"|indirizzo|endereço|adres|adress|osoite"
    r"|(?:lives?|lived|living|located|offices? (?:is|are)|reside[sd]?|wohn(?:e|t|haft)"
    r"|habit[eoa]|vivo)(?: at| on| in| en| a)?)"
    r"(?i:[ ]*(?:is|ist|est|es|è|:|=|to|in|at|are|was|below"
    r"|now)){0,3}[:\s]*(?P<address>(?-i:\d{1,6}[ ]+(?:[A-ZÀ-Þ]|\d{1,5}[ ]+[A-ZÀ-Þ])|"
    rf"{_CAPITAL_WORD}[ ](?:{_WORD}[ ]){{0,3}}\d)[^\n.?!@]{{0,60}}?)(?=[.?!]|\n|$|,? (?:and|und"
    rf"|et|for|but|because|please|in)\b)"
)


def addresses(text: str) -> Iterator[Found]:
    """Streets with a house number in a dozen languages, post boxes, flats; codes beside their
    word; and what follows "address is" or "lives at", when it has a number in it."""
    if not any(character.isdigit() for character in text):
        return
    for pattern in (_ENGLISH, _NUMBER_FIRST, _TYPED, _COMPOUND, _BOX, _FLAT):
        for match in pattern.finditer(text):
            led = _LED.search(text, max(0, match.start() - 7), match.start())
            start = led.start() if led else match.start()
            yield Found(start, _end(text, match.end()), "ADDRESS")
    for match in _TOLD_CODE.finditer(text):
        yield Found(match.start("code"), match.end("code"), "ADDRESS")
    for match in _TOLD.finditer(text):
        yield Found(match.start("address"), _end(text, match.end("address")), "ADDRESS")


def _end(text: str, end: int) -> int:
    """Where the address ends: after flats, and after the code of the town if one follows."""
    begin = at = end
    while at - begin <= _FARTHEST and at < len(text):
        separated = _APART.match(text, at)
        token = _BETWEEN.match(text, separated.end() if separated else at)
        if not token:
            break
        at = token.end()
        if token["code"]:
            town = _TOWN.match(text, at)
            return town.end() if town else at
        if any(character.isdigit() for character in token[0]):
            end = at
    return end
