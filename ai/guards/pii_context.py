"""Persons whom no gazetteer has, by what stands around their names; dates of birth.

First names are those of a census (data/SOURCES.md): one with a capital is a person, and so are the
capitalised words that follow it.
"""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import re
from collections.abc import Iterator

from ai.guards.pii_found import Found
from ai.guards.pii_words import folded, given_names, is_common, proper_words, surnames

_CAPITAL = "A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮİĴĶĹĻĽĿŁŃŅŇŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽȘȚА-ЯЁІЇЄΆ-Ϋ"
_NAME = rf"[{_CAPITAL}](?:[^\W\d_]|['’](?=[^\W\d_]{{2}}))*(?:-[{_CAPITAL}]?[^\W\d_]+)*"
_INITIAL = rf"[{_CAPITAL}]\."
_PARTICLE = (
    r"(?:van der|van den|van de|van|von der|von|vom|zu|de la|de los|de las|de|da|dos|do|del"
    r"|della|di|du|le|la|el|al|bin|ibn|ter|ten|af|av)"
)
_NAMES = rf"{_NAME}(?:[ \t]+(?:{_PARTICLE}[ \t]+)?(?:{_INITIAL}|{_NAME})){{0,3}}"

_TITLE = (
    r"\b(?:Mrs?|Ms|Mx|Miss|Dr|Prof|Rev|Herrn?|Frau|Monsieur|Madame|Mme|Mlle|Señora?|Sra?|Srta|Sr"
    r"|Doña|Don|Dott(?:\.ssa|oressa)?|Sig(?:\.ra|na)?|Signora?|Dhr|Mevr|Mevrouw|Meneer|Pani?|Panem"
    r"|Senhora?|Fru|Hr|Úr|[Mm]rs?\.|[Mm]s\.|[Dd]r\.|[Pp]rof\.)\.?(?:[ \t]+(?:Dr|Prof)\.?)*"
)
_GREETING = (
    r"(?:^|(?<=[.!?>|:\"]) ?)[ \t>]*(?:Dear|Hi|Hello|Hey|Good (?:morning|afternoon|evening)"
    r"|Hallo|Liebe[rs]?|Guten (?:Tag|Morgen)"
    r"|Sehr geehrte[rs]?|Bonjour|Bonsoir|Salut|Ch[eè]re?|Hola|Buen[oa]s (?:días|tardes)|Estimad[oa]"
    r"|Querid[oa]|Ciao|Buongiorno|Gentile|Car[oa]|Beste|Geachte|Hoi|Hej|Kära|Hei|Kære|Cześć"
    r"|Szanown[ya]|Drog[ia]|Dzień dobry|Olá|Prezad[oa]|Ahoj|Vážen[ýá]|Kedves|Szia|Merhaba|Sayın)"
)
_BEFORE_NAME = (
    r"(?:[Mm]y (?:full |last |first |sur)?name(?:'s| is)|I am|I['’]m|[Tt]his is|[Ii]t is"
    r"|here is|calls? me|named (?:him|her)"
    r"|[Aa]sk for|[Ss]poke (?:to|with)|[Ss]peak (?:to|with)|[Tt]alk(?:ed)? (?:to|with)"
    r"|[Mm]eet(?:ing)? with|[Mm]et"
    r"|[Ii]n the name of|[Oo]n behalf of|[Uu]nder the name(?: of)?|['’]s name|[Nn]ame of"
    r"|[Ss]igned by"
    r"|[Mm]ein Name ist|[Ii]ch hei(?:ß|ss)e|[Ii]ch bin|[Hh]ier (?:ist|spricht)|[Jj]e m['’]appelle"
    r"|[Mm]on nom est|[Jj]e suis|[Mm]e llamo|[Mm]i nombre es|[Ss]oy|[Mm]i chiamo|[Ii]l mio nome è"
    r"|[Ss]ono|[Ii]k heet|[Mm]ijn naam is|[Ii]k ben|[Jj]ag heter|[Jj]eg heter|[Jj]eg hedder"
    r"|[Mm]itt namn är"
    r"|[Nn]azywam się|[Mm]am na imię|[Jj]estem|[Mm]eu nome é|[Mm]e chamo|[Jj]menuji se"
    r"|[Nn]imeni on)"
)
# After these anything that looks like a name is one; after the others it has to be no word.
_FIELD = (
    r"(?:^|[\n|>,;])[ \t>*]*(?:Attn|Attention|c/o|Name|Full name|First name|Last name"
    r"|Surname|Contact(?: person)?|Customer(?: name)?|Client|Patient|Beneficiary|Recipient"
    r"|Guest|Billing address"
    r"|Ship(?:ped)? to|Bill to|Account holder|Owner|User|Author|Signed|Ansprechpartner(?:in)?|Kunde"
    r"|Nom|Prénom|Nombre|Apellidos?|Cliente|Nome|Cognome|Naam|Klant|Namn|Imię"
    r"|Nazwisko)[ \t]*:[ \t]*"
)
# Senders are companies, too: here a word alone is a name only where it is a first name.
_MAIL_FIELD = (
    r"(?:^|[\n|>])[ \t>*]*(?:EMAIL_FROM|From|To|Cc|Sender|Von|An|Absender|De|À|Para)[ \t]*:[ \t]*"
)
_CLOSING = (
    r"(?i:(?:best|kind|kindest|warm|warmest|many)(?: regards| wishes| thanks)?|regards"
    r"|sincerely|yours(?: truly| sincerely| faithfully)?"
    r"|thanks(?: again)?|thank you|cheers|respectfully|(?:mit )?(?:freundlichen?|besten?"
    r"|viele[n]?|herzliche[n]?|liebe) gr(?:ü|ue)(?:ß|ss)en?|mfg|lg"
    r"|cordialement|bien à vous|salutations|saludos(?: cordiales)?|atentamente|un saludo"
    r"|cordiali saluti|distinti saluti|saluti"
    r"|met vriendelijke groeten?|groet(?:en|jes)?|pozdrawiam|z poważaniem"
    r"|med vänliga? hälsning(?:ar)?|mvh|hilsen|atenciosamente|abraços|s pozdravem|terveisin"
    r"|üdvözlettel)"
)
_SIGNATURE = re.compile(
    rf"^[ \t>]*{_CLOSING}[ \t]*[,.!]?[ \t]*\n[ \t>\n]*(?P<names>{_NAMES})[ \t]*(?=$|[\n,|])",
    re.MULTILINE,
)
_TITLED = re.compile(rf"{_TITLE}[ \t]+(?P<names>{_NAMES})")
_GREETED = re.compile(
    rf"{_GREETING}[ \t]+(?:{_TITLE}[ \t]+)?(?P<names>{_NAMES})(?=[ \t]*(?:[,!.:;\n–—]|-|$))",
    re.MULTILINE,
)
_INTRODUCED = re.compile(rf"(?<!\w){_BEFORE_NAME}[ \t]+(?:{_TITLE}[ \t]+)?(?P<names>{_NAMES})")
_LOWER = re.compile(
    r"(?i:my name is|i am called|ich hei(?:ß|ss)e|mein name ist|je m['’]appelle|me llamo"
    r"|mi chiamo)[ \t]+"
    r"(?P<names>[^\W\d_]{3,}(?:[ \t]+[^\W\d_]{3,})?)"
)
_IN_FIELD = re.compile(
    rf"{_FIELD}(?:{_TITLE}[ \t]+)?(?P<names>{_NAMES})(?=[ \t]*(?:[\n,;|<(]|$| from ))", re.MULTILINE
)
_IN_MAIL_FIELD = re.compile(
    rf"{_MAIL_FIELD}(?P<names>{_NAMES})(?=[ \t]*(?:[\n,;|<(]|$| from ))", re.MULTILINE
)
_CAPITALISED = re.compile(rf"(?<![\w@./-]){_NAME}(?![\w@])")
_FOLLOWING = re.compile(
    rf"(?:[ ](?:{_INITIAL}|{_PARTICLE}(?=[ ][{_CAPITAL}])|{_NAME}(?![\w@]))){{1,3}}"
)
_OF_A_PLACE = re.compile(
    r"(?:\b(?:San|Santa|São|Saint|St\.?|Ste\.?|Fort|Port|Lake|Mount|Mt\.?|New|El|Los|Las))[ ]$"
)
# Words after a greeting or in a field that are no names.
_NOBODY_WORDS = """
    customer customers sir madam sirs team all everyone everybody there support friend friends
    colleague colleagues member members user users valued guest guests folks hiring manager
    kunde kundin kunden damen herren client cliente clientes support service sales admin you
    your the this that these those we i it he she they not sorry good morning afternoon evening
    again world not just so from here what who how when where why please thanks thank regards
    happy glad sure and or but if in on at of to for a an no yes ok okay team mr mrs ms miss dr
    prof bot inc llc ltd pllc llp gmbh ag
"""
_NOBODY = frozenset(_NOBODY_WORDS.split())

_MONTH = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|janv|févr|avr|juin"
    r"|juil|août"
    r"|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|mei|fev|out)[^\W\d]*\.?"
)
_BORN = re.compile(
    r"(?i:\bd\.?o\.?b\.?\b|date of birth|birth ?da(?:te|y)|\bborn(?: on)?|geboren(?: am| op)?"
    r"|\bgeb\."
    r"|geburtsdatum|né[e]? le|date de naissance|naissance|nacid[oa] el|fecha de nacimiento"
    r"|nascid[oa] em"
    r"|data de nascimento|nat[oa] il|data di nascita|geboortedatum|född|født|urodzon[ya]"
    r"|data urodzenia)"
    r"[^\d\n]{0,20}?(?P<date>(?i:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?(?: de| of)? {_MONTH}(?: de|,)? \d{{2,4}}"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}))"
)


def persons(text: str) -> Iterator[Found]:
    """Names after titles, greetings and introductions, in fields and signatures, and first names
    of the census with what follows them."""
    for pattern in (_TITLED, _GREETED, _SIGNATURE):
        for match in pattern.finditer(text):
            yield from _person(match, strict=False)
    for pattern in (_INTRODUCED, _IN_FIELD):
        for match in pattern.finditer(text):
            yield from _person(match, strict=True)
    for match in _IN_MAIL_FIELD.finditer(text):
        for person in _person(match, strict=True):
            if " " in text[person.start : person.end]:
                yield person
    for match in _LOWER.finditer(text):
        words = match["names"].split()
        if not any(is_common(folded(word)) or folded(word) in _NOBODY for word in words[:1]):
            known = len(words) > 1 and not is_common(folded(words[1]))
            length = len(match["names"]) if known else len(words[0])
            yield Found(match.start("names"), match.start("names") + length, "PERSON")
    yield from _by_first_name(text)


def births(text: str) -> Iterator[Found]:
    """Dates beside a word such as born."""
    for match in _BORN.finditer(text):
        yield Found(match.start("date"), match.end("date"), "BIRTHDATE")


def _person(match: re.Match[str], *, strict: bool) -> Iterator[Found]:
    end = _end_of_name(match["names"], strict=strict)
    if end:
        yield Found(match.start("names"), match.start("names") + end, "PERSON")


def _by_first_name(text: str) -> Iterator[Found]:
    given = given_names()
    for match in _CAPITALISED.finditer(text):
        if folded(match[0].partition("-")[0]) not in given:
            continue
        if _OF_A_PLACE.search(text, max(0, match.start() - 8), match.start()):
            continue
        following = _FOLLOWING.match(text, match.end())
        whole = match[0] + (following[0] if following else "")
        end = _end_of_name(whole, strict=True)
        if end:
            yield Found(match.start(), match.start() + end, "PERSON")


def _end_of_name(names: str, *, strict: bool) -> int:
    """How much of it is a name: up to the first word that is none.

    strict: a common word is none at the beginning; otherwise it may be, where a name is expected,
    as in "Dear Grace". After the beginning those that are frequent surnames are taken.
    """
    end = 0
    for match in re.finditer(r"\S+", names):
        key = folded(match[0].rstrip(".,"))
        if end and re.fullmatch(_PARTICLE, match[0]):
            continue
        if key in _NOBODY or key in proper_words():
            break
        if is_common(key) and (key not in surnames() if end else strict):
            break
        end = match.end()
    return end
