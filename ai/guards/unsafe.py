"""What no answer to a business user says, by category: short lists, to be read and judged whole.

They are a last look at a model's answer and no moderation: a sentence that says the same in other
words passes. Each pattern is of words that customers' correspondence has no use for.
"""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import re
from collections.abc import Mapping


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)", re.IGNORECASE)


CATEGORIES: Mapping[str, re.Pattern[str]] = {
    "self-harm": _words(
        r"kill yourself", r"kys", r"end your (?:own )?life", r"you should (?:die|kill yourself)",
        r"(?:how|ways|methods?) (?:to|of) (?:commit(?:ting)? suicide|kill(?:ing)? (?:yourself"
        r"|myself))",
        r"(?:hang|cut|harm) yourself", r"bring dich um", r"suicídate", r"suicide-toi",
    ),
    "threat": _words(
        r"(?:i|we)(?:['’]ll| will| am going to| are going to) (?:kill|hurt|destroy"
        r"|find and hurt|rape) (?:you|your \w+)",
        r"you(?:['’]ll| will) (?:die|regret being born)", r"you deserve to die",
        r"ich bringe dich um", r"te voy a matar", r"je vais te tuer",
    ),
    "hate": _words(
        r"(?:women|jews|muslims|christians|blacks|whites|asians|gays|lesbians|immigrants"
        r"|foreigners|disabled people)"
        r" (?:are|is) (?:inferior|subhuman|vermin|animals|parasites|filth|a disease|stupid|evil)",
        r"gas the \w+", r"(?:white|racial) (?:power|supremacy) (?:now|forever)", r"n[i1]gg(?:er"
        r"|a)s?", r"f[a4]gg?ots?", r"k[i1]kes?",
        r"tr[a4]nn(?:y|ies)", r"untermenschen",
    ),
    "sexual": _words(
        r"porn(?:o|ography|hub)?", r"child sexual \w+", r"blow ?jobs?", r"(?:suck|lick) my \w+",
        r"cum(?:shot|ming)s?", r"horny", r"naked (?:pictures?|photos?|girls?|boys?)", r"sexting",
    ),
    "profanity": _words(
        r"(?:mother)?fuck(?:s|ed|er|ers|ing)?", r"bull ?shit", r"shit(?:ty"
        r"|head)?", r"assholes?", r"cunts?", r"bitch(?:es)?",
        r"arschloch", r"scheiß\w*", r"putain", r"hijo de puta", r"vaffanculo", r"kurwa",
    ),
    "weapons": _words(
        r"(?:build|make|assemble|construct)(?:ing)? (?:a |an )?(?:pipe |nail |dirty )?(?:bombs?"
        r"|explosives?|nerve agents?|silencers?|ghost guns?)",
        r"(?:synthesi[sz]e|cook|make)(?:ing)? (?:sarin|ricin|meth(?:amphetamine)?|fentanyl"
        r"|anthrax|tatp)",
    ),
    "phishing": _words(
        r"(?:send|give|tell|e-?mail|text|reply with|provide|confirm|enter|verify)(?: (?:me"
        r"|us) (?:your|the)| your) (?:full )?(?:password|passphrase|pin(?: code)?"
        r"|cvv|cvc|card number|credit card (?:number|details)|bank details"
        r"|social security number|ssn|one[- ]time (?:code|password)|login credentials)",
        r"buy (?:\w+ ){0,3}gift cards? (?:and|to) (?:send|share|settle|pay)",
        r"(?:install|download) (?:anydesk|teamviewer)",
        r"your account (?:has been|is|will be) (?:hacked|compromised"
        r"|suspended)[,.:;]? (?:please )?(?:click|log ?in|visit|call)",
    ),
    "markup": re.compile(
        r"<\s*(?:script|iframe|object|embed|form|meta|link|base|svg|style)\b|javascript\s*:"
        r"|vbscript\s*:"
        r"|data\s*:\s*text/html|<[^<>]{1,300}\son(?:error|load|click|mouseover|focus)\s*=",
        re.IGNORECASE,
    ),
    "secret": re.compile(
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}"
        r"|\bAKIA[0-9A-Z]{16}\b"
        r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bAIza[0-9A-Za-z_-]{35}|\bxox[abprs]-[0-9A-Za-z-]{10,}"
        r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
        r"|\bpostgres(?:ql)?://[^\s:/]+:[^\s@]+@"
    ),
}  # fmt: skip
