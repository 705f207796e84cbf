"""Which similarity to ask for before the answer to a question serves another wording.

By itself it takes the folder of bitext-support (Bitext, CDLA-Sharing-1.0: 4,514 requests to a
customer service, of 27 intents) instead of the wordings of llm_questions.yaml.
"""

import csv
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ai import embedding, facts
from benchmarks.llm_workload import wordings
from benchmarks.reporting import console, show

_FILE = "Bitext_Sample_Customer_Support_Training_Dataset.csv"
_COSINES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def similarities() -> dict[float, tuple[float, float]]:
    """By the least cosine, how many pairs of two wordings would serve each other: of those of one
    question the share, of those of two questions the number. Printed with what the cosine alone
    would do."""
    return _measured([(str(n), one) for n, intent in enumerate(wordings()) for one in intent])


def _measured(asked: Sequence[tuple[str, str]]) -> dict[float, tuple[float, float]]:
    vectors = embedding.embed([one for _, one in asked])
    meant = np.unique([intent for intent, _ in asked], return_inverse=True)[1]
    said = np.unique([" ".join(facts.facts(one)) for _, one in asked], return_inverse=True)[1]
    left, right = np.triu_indices(len(asked), 1)
    cosine = np.concatenate([vectors[i] @ vectors[i + 1 :].T for i in range(len(asked))])
    same, agree = meant[left] == meant[right], said[left] == said[right]
    rows, found = [], {}
    for least in _COSINES:
        near = cosine >= least
        share, wrong = (near & agree)[same].mean(), int((near & agree)[~same].sum())
        alone, wrong_alone = near[same].mean(), int(near[~same].sum())
        found[least] = float(share), float(wrong)
        rows.append((f"{least:.2f}", *_cells(share, wrong), *_cells(alone, wrong_alone)))
    show(
        f"{same.sum():,} pairs of wordings of one question, {(~same).sum():,} of two",
        ("cosine", "of one, served", "of two, served", "of one, cosine alone", "of two"),
        rows,
    )
    return found


def _cells(share: float, number: int) -> tuple[str, str]:
    return f"{share:.2%}", f"{number:,}"


def _confused(asked: Sequence[tuple[str, str]], least: float) -> Counter[tuple[str, str]]:
    """The pairs of intents of which a wording would serve the other's, and how often."""
    vectors = embedding.embed([one for _, one in asked])
    alike: dict[str, list[int]] = {}
    for number, (_, one) in enumerate(asked):
        alike.setdefault(" ".join(facts.facts(one)), []).append(number)
    return Counter(
        (min(asked[a][0], asked[b][0]), max(asked[a][0], asked[b][0]))
        for group in alike.values()
        for a, b in itertools.combinations(group, 2)
        if asked[a][0] != asked[b][0] and vectors[a] @ vectors[b] >= least
    )


def main() -> None:
    with (Path(sys.argv[1]) / _FILE).open(newline="") as file:
        asked = sorted({(row["intent"], row["instruction"]) for row in csv.DictReader(file)})
    _measured(asked)
    for (one, other), number in _confused(asked, 0.85).most_common():
        console.print(f"at 0.85: {one} and {other}, {number} pairs")


if __name__ == "__main__":
    main()
