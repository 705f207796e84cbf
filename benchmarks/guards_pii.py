"""Personal data: recall by type beside false alarms, what must survive, the way back, and speed.

DATA holds pii-presidio-research (synth_dataset_v2.json; Microsoft, MIT), bitext-support (Bitext,
CDLA-Sharing-1.0), injection-bipia (Microsoft, MIT) and injection-notinject (MIT), each in a folder
of that name. Without it, only the speed is measured.
"""

import argparse
import csv
import gc
import itertools
import json
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ai.guards.outputs import Checker
from ai.guards.pii import Redactor
from ai.guards.pii_words import given_names, surnames
from ai.guards.placeholders import Vault
from benchmarks.reporting import Arguments, report, show, told

# What the set labels and what a placeholder is made for; towns, ages, peoples, jobs, times and
# domains are labelled, too, and stay: answers rest on them.
HIDDEN = (
    "PERSON", "ORGANIZATION", "STREET_ADDRESS", "ZIP_CODE", "CREDIT_CARD", "PHONE_NUMBER",
    "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "US_SSN", "US_DRIVER_LICENSE",
)  # fmt: skip
TYPE_HEADINGS = (
    "type", "spans", "forms alone", "no names", "half of names", "all names", "all + 10,000",
    "partly, all",
)  # fmt: skip
PLAIN_HEADINGS = ("set", "texts", "persons", "companies", "e-mails", "addresses", "numbers")


@dataclass(frozen=True)
class Labelled:
    """A sentence. spans: start, end and type."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Measured:
    """whole, partly: how many spans of a type had every letter and digit covered, or some.
    alarms: what was found that overlaps no span, by kind. found: in all."""

    spans: Counter[str]
    whole: Counter[str]
    partly: Counter[str]
    alarms: Counter[str]
    found: int

    def recall(self, kind: str) -> float:
        return self.whole[kind] / self.spans[kind]


def sentences(data: Path) -> list[Labelled]:
    read = json.loads((data / "pii-presidio-research/synth_dataset_v2.json").read_text())
    return [
        Labelled(
            row["full_text"],
            tuple((s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]),
        )
        for row in read
    ]


def names_in(rows: Sequence[Labelled]) -> list[str]:
    """What the CRM of a tenant with these customers would hold."""
    return sorted(
        {
            row.text[start:end]
            for row in rows
            for start, end, kind in row.spans
            if kind in ("PERSON", "ORGANIZATION")
        }
    )


def others(count: int) -> list[str]:
    """Made-up customers: first names of the census with surnames that are words or made up."""
    chance = random.Random(0)
    first, last = sorted(given_names()), sorted(surnames())
    made = [a + b for a, b in itertools.product(("kor", "wal", "ben", "tos", "mer"), first[::9])]
    return [
        f"{chance.choice(first).title()} {chance.choice((last, made)[n % 2]).title()}"
        for n in range(count)
    ]


def score(rows: Sequence[Labelled], redactor: Redactor) -> Measured:
    measured = Measured(Counter(), Counter(), Counter(), Counter(), 0)
    total = 0
    for row in rows:
        found = redactor.find(row.text)
        total += len(found)
        covered = {at for one in found for at in range(one.start, one.end)}
        for start, end, kind in row.spans:
            letters = [at for at in range(start, end) if row.text[at].isalnum()]
            inside = sum(at in covered for at in letters)
            measured.spans[kind] += 1
            measured.whole[kind] += inside == len(letters)
            measured.partly[kind] += inside > 0
        for one in found:
            if not any(start < one.end and one.start < end for start, end, _ in row.spans):
                measured.alarms[one.kind] += 1
    return Measured(measured.spans, measured.whole, measured.partly, measured.alarms, total)


def of_types(data: Path, figures: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """By type; the last rows are false alarms and precision of the same runs."""
    rows = sentences(data)
    names = names_in(rows)
    half = random.Random(0).sample(names, len(names) // 2)
    ways = {
        "no names, forms alone": Redactor(context=False),
        "no names": Redactor(),
        "half of the names": Redactor(half),
        "all names": Redactor(names),
        "all and 10,000 others": Redactor([*names, *others(10_000)]),
    }
    measured = {way: score(rows, redactor) for way, redactor in ways.items()}
    spans = next(iter(measured.values())).spans
    for kind in sorted(spans, key=lambda kind: (kind not in HIDDEN, -spans[kind])):
        mark = "" if kind in HIDDEN else " (stays)"
        whole = [f"{one.recall(kind):.1%}" for one in measured.values()]
        partly = f"{measured['all names'].partly[kind] / spans[kind]:.1%}"
        yield kind.lower() + mark, f"{spans[kind]}", *whole, partly
        if kind in HIDDEN:
            figures[f"pii_recall_{kind.lower()}"] = measured["all names"].recall(kind)
    alarms = [one.alarms.total() for one in measured.values()]
    yield "false alarms per 1,000 texts", "", *(f"{a / len(rows) * 1e3:.1f}" for a in alarms), ""
    precision = [1 - one.alarms.total() / one.found for one in measured.values()]
    yield "precision of what was found", "", *(f"{one:.2%}" for one in precision), ""
    figures["pii_false_alarms_per_1000"] = measured["all names"].alarms.total() / len(rows) * 1e3
    figures["pii_recall_person_without_names"] = measured["no names"].recall("PERSON")


def plain_texts(data: Path) -> Mapping[str, list[str]]:
    rows = support(data)
    mails = (data / "injection-bipia/email__train.jsonl").read_text().splitlines()
    benign = json.loads((data / "injection-notinject/NotInject_one.json").read_text())
    return {
        "bitext requests": [row["instruction"] for row in rows],
        "bitext responses": [row["response"] for row in rows],
        "bipia e-mails": [json.loads(mail)["context"] for mail in mails],
        "notinject prompts": [row["prompt"] for row in benign],
    }


def support(data: Path) -> list[dict[str, str]]:
    path = data / "bitext-support/Bitext_Sample_Customer_Support_Training_Dataset.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def in_plain_texts(data: Path, figures: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """What is found by kind, per 1,000 texts. Nothing is labelled: bitext's persons (David Miller)
    and the e-mails' senders and streets are rightly found, numbers would not be."""
    redactor = Redactor(others(10_000))
    for name, texts in plain_texts(data).items():
        kinds = Counter(one.kind for text in texts for one in redactor.find(text))
        numbers = kinds["PHONE"] + kinds["CARD"] + kinds["IBAN"] + kinds["IDENTITY"]
        cells = [kinds["PERSON"], kinds["COMPANY"], kinds["EMAIL"], kinds["ADDRESS"], numbers]
        yield name, f"{len(texts)}", *(f"{cell / len(texts) * 1e3:.1f}" for cell in cells)
        figures[f"pii_numbers_taken_{name.replace(' ', '_')}"] = numbers
    ids = [row for row in support(data) if row["entity_type"].endswith("_id")]
    kept = sum(
        row["entity_value"] in redactor.redact(row["instruction"], Vault())
        for row in ids
        if row["entity_value"] in row["instruction"]
    )
    there = sum(row["entity_value"] in row["instruction"] for row in ids)
    yield "order and account numbers that stay", f"{there}", f"{kept / there:.1%}", "", "", "", ""
    figures["pii_order_numbers_kept"] = kept / there


def round_trips(data: Path, figures: dict[str, float]) -> Iterator[tuple[str, ...]]:
    rows = sentences(data)
    redactor = Redactor(names_in(rows))
    texts = {"pii-presidio-research": [row.text for row in rows], **plain_texts(data)}
    wrong = 0
    for name, some in texts.items():
        same = streamed = 0
        for text in some:
            vault = Vault()
            sent = redactor.redact(text, vault)
            same += vault.restore(sent) == text
            stream = vault.stream()
            pieces = [stream.feed(sent[at : at + 3]) for at in range(0, len(sent), 3)]
            streamed += "".join([*pieces, stream.end()]) == text
        wrong += 2 * len(some) - same - streamed
        yield name, f"{len(some)}", f"{same}", f"{streamed}"
    figures["pii_round_trips_wrong"] = wrong


def of_outputs(data: Path, figures: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """Answers that nothing is wrong with, but for what their writers made up: an address of e-mail
    or a link that the question does not have."""
    foreign = frozenset(f"tenant-{n}" for n in range(500)) | frozenset(others(500))
    mails = (data / "injection-bipia/email__train.jsonl").read_text().splitlines()
    pairs = {
        "bitext responses": [(row["instruction"], row["response"]) for row in support(data)],
        "bipia ideal answers": [
            (mail["context"], mail["ideal"]) for mail in map(json.loads, mails)
        ],
    }
    for name, some in pairs.items():
        kinds: Counter[str] = Counter()
        for source, answer in some:
            kinds.update(
                one.kind if one.kind != "unsafe" else one.detail
                for one in Checker([source], foreign=foreign).violations(answer)
            )
        told_of = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        yield name, f"{len(some)}", f"{kinds.total()}", told_of or "none"
        figures[f"outputs_alarms_{name.replace(' ', '_')}"] = kinds.total()


def speeds(figures: dict[str, float], *, quick: bool) -> Iterator[tuple[str, ...]]:
    """Of one e-mail of 2 kB with 10 customers in it, in CPU time, which a busy machine does not
    stretch by much; memory is what building the index takes at most."""
    for count in (0, 10_000) if quick else (0, 10_000, 100_000):
        names = others(count)
        gc.collect()
        tracemalloc.start()
        Redactor(names)
        megabytes = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        began = time.process_time()
        redactor = Redactor(names)
        built = time.process_time() - began
        mail = an_email(names or others(10))
        times = []
        for _ in range(20 if quick else 200):
            began = time.process_time()
            redactor.redact(mail, Vault())
            times.append(time.process_time() - began)
        times.sort()
        median, slow = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
        cells = (f"{built:.2f} s", f"{megabytes:.0f} MB", f"{median:.2f} ms", f"{slow:.2f} ms")
        yield f"{count:,}", *cells, f"{1e3 / median:,.0f}"
        figures[f"pii_ms_per_email_{count}_names"] = median


def an_email(names: Sequence[str]) -> str:
    lines = [
        f"{name} asked on 2026-03-{day:02d} about order {day * 7_654_321} of 1,250.00 EUR, which"
        f" was to be at Hauptstraße {day}, 10115 Berlin; call +49 30 9018{day:02d} or write to"
        f" mail{day}@example.org before Friday.\n"
        for day, name in enumerate(names[:10], start=10)
    ]
    return "".join(lines)[:2_000].ljust(2_000, ".")


def measure(
    data: Path | None, figures: dict[str, float], *, quick: bool = False
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Tables of title, headings and rows; the figures are put into `figures`."""
    tables = []
    if data is not None:
        tables += [
            (
                "Personal data: spans with every letter covered, and false alarms",
                TYPE_HEADINGS,
                list(of_types(data, figures)),
            ),
            ("Found per 1,000 texts", PLAIN_HEADINGS, list(in_plain_texts(data, figures))),
            (
                "There and back: equal to the original",
                ("set", "texts", "whole", "streamed"),
                list(round_trips(data, figures)),
            ),
            (
                "Output checks on answers that are well",
                ("set", "answers", "alarms", "which"),
                list(of_outputs(data, figures)),
            ),
        ]
    headings = ("names", "built in", "peak", "median, 2 kB", "p99", "a second")
    tables.append(("Speed", headings, list(speeds(figures, quick=quick))))
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder with the public sets")
    parser.add_argument("--json", type=Path, help="write the figures there, name: number")
    parser.add_argument("--quick", action="store_true", help="a small run that tries the code")
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with told("personal data"):
        *tables, last = measure(given.data, figures, quick=given.quick)
    for table in tables:
        show(*table)
    report(*last, figures, Arguments(given.json, given.quick))


if __name__ == "__main__":
    main()
