"""What the injection guard learns from: our own sentences, expanded from patterns with a seed.

The patterns are in guards_injection.yaml; no sentence of the sets it is measured on is in them.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

SEED = 20_240_611
# What is held out of training to be measured on, by pattern, so that no other wording of it is in.
HELD_OUT = 8
_PATTERNS = Path(__file__).with_suffix("").with_name("guards_injection.yaml")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"(?<!\{)\{(\w+)\}")
_EACH = 40
_JOINED = 1200
_JOINTS = (" ", " ", " - ", ", ", "  ")


@dataclass(frozen=True)
class Sentence:
    """text: expanded. kind: directed, task, benign or asked. group: the class within the kind.
    pattern: its number; those divisible by HELD_OUT are not trained on.
    """

    text: str
    kind: str
    group: str
    pattern: int

    @property
    def held_out(self) -> bool:
        return self.pattern % HELD_OUT == 0


@cache
def sentences() -> tuple[Sentence, ...]:
    """Up to 40 different expansions of every pattern, the same each time."""
    patterns = yaml.safe_load(_PATTERNS.read_text("utf-8"))
    slots = patterns.pop("slots")
    chance = random.Random(SEED)
    made, number = [], 0
    for kind, groups in patterns.items():
        for group, of_group in groups.items():
            for pattern in of_group:
                number += 1
                texts = dict.fromkeys(expanded(pattern, slots, chance) for _ in range(_EACH))
                made += [Sentence(text, kind, group, number) for text in texts]
    return tuple(made)


def taught(of: Sequence[Sentence]) -> list[Sentence]:
    """These sentences, and some of them run together as in mails whose line ends are lost."""
    chance = random.Random(SEED)
    clean = [sentence for sentence in of if sentence.kind == "benign"]
    made = list(of)
    for first in chance.choices(clean, k=_JOINED):
        second = chance.choice(clean)
        made.append(replace(first, text=chance.choice(_JOINTS).join((first.text, second.text))))
    for first in chance.choices([s for s in of if s.kind in ("directed", "task")], k=_JOINED):
        texts = [first.text, chance.choice(clean).text]
        chance.shuffle(texts)
        made.append(replace(first, text=chance.choice(_JOINTS).join(texts)))
    return made


def expanded(pattern: str, slots: Mapping[str, list[str]], chance: random.Random) -> str:
    """One sentence of a pattern: each choice and each slot made by chance, inner ones first."""
    while choice := _CHOICE.search(pattern):
        made = chance.choice(choice[1].split("|"))
        pattern = pattern[: choice.start()] + made + pattern[choice.end() :]
    while slot := _SLOT.search(pattern):
        made = expanded(chance.choice(slots[slot[1]]), slots, chance)
        pattern = pattern[: slot.start()] + made + pattern[slot.end() :]
    tidy = pattern.replace("{{", "{").replace("}}", "}")
    return re.sub(r" +", " ", tidy).replace(" .", ".").replace(" ,", ",").strip()
