"""What the fake provider says: a function of the question and the script alone."""

import json
import re
from dataclasses import replace

from ai.fake_provider.exchange import Question, Reply, cut, tokens
from ai.fake_provider.filling import fill
from ai.fake_provider.script import Script, ToolCall

_ORDER = re.compile(
    r"(?:ignore|disregard|forget|override)\b[^.\n]{0,80}\b(?:instructions?|rules|prompt|above)"
    r"[^\n]{0,20}?(?:[.,:;\n]\s*(?:and\s+|then\s+|instead,?\s+)*|\s(?:and|then)\s+)"
    r"(?P<order>[^\n]{1,500})",
    re.IGNORECASE,
)
_SAY = re.compile(
    r"^(?:please\s+)?(?:only\s+)?(?:say|reply|answer|respond|output|print|write)\b"
    r"(?:\s+(?:only|with|exactly|just))*:?\s*(?P<said>.+)$",
    re.IGNORECASE,
)
_REVEAL = re.compile(r"\b(?:reveal|repeat|show|print|output)\b.*\b(?:prompt|instructions)\b", re.I)


def reply(question: Question, script: Script, fault: str | None) -> Reply:
    """The answer, with whatever the fault does to an answer that is given."""
    said = _canned(question, script) or _free(question, script)
    if fault == "wrong_schema":
        said = _called(question, json.dumps({"unexpected": ["shape"]}))
    elif fault == "not_json":
        said = _called(question, "I would rather say it in words.")
    text, tool = said
    heard = sum(map(tokens, question.texts))
    counted = Reply(
        text=text,
        tool=tool,
        finish="tool" if tool else "stop",
        input_tokens=heard,
        cached_tokens=int(heard * script.cached_share),
        output_tokens=tokens(text),
    )
    if fault == "filtered":
        return replace(counted, text="", tool=None, finish="filtered", output_tokens=0)
    most = question.most
    if fault == "length":
        most = min(most or counted.output_tokens, max(1, counted.output_tokens // 2))
    if most is not None and counted.output_tokens > most:
        return replace(counted, text=cut(text, most), finish="length", output_tokens=most)
    return counted


def _canned(question: Question, script: Script) -> tuple[str, str | None] | None:
    prompt = "\n".join(question.texts)
    for key in sorted(script.canned, key=len, reverse=True):
        if key in prompt:
            canned = script.canned[key]
            if isinstance(canned, ToolCall):
                return json.dumps(dict(canned.arguments)), canned.tool
            return _called(question, canned)
    return None


def _free(question: Question, script: Script) -> tuple[str, str | None]:
    text = question.asked
    if script.answers == "obedient":
        text = _obey(question) or text
    if script.answer_tokens is not None:
        text = cut(text, script.answer_tokens)
    schema = question.tools[question.forced] if question.forced else question.schema
    return _called(question, json.dumps(fill(schema, text)) if schema is not None else text)


def _called(question: Question, text: str) -> tuple[str, str | None]:
    return text, question.forced


def _obey(question: Question) -> str | None:
    """What a fooled model says: the order that follows the words that lift its instructions."""
    for text in reversed(question.texts):
        if found := _ORDER.search(text):
            order = found["order"].strip()
            if _REVEAL.search(order):
                return question.texts[0]
            said = _SAY.match(order)
            return said["said"].strip("\"' ") if said else order
    return None
