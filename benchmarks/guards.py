"""What the guards find and what they disturb: injection and personal data.

--data: a folder with injection-bipia, injection-notinject, bitext-support, abcd-support and
pii-presidio-research, whichever are there. Without it: on what the project ships itself.
"""

import argparse
import importlib.util
from pathlib import Path

from benchmarks import guards_injection
from benchmarks.reporting import Arguments, report, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with the public sets")
    parser.add_argument("--json", type=Path, help="write the figures there, name: number")
    parser.add_argument("--quick", action="store_true", help="a small run that tries the code")
    parsed = parser.parse_args()
    figures = guards_injection.measure(parsed.data, quick=parsed.quick)
    if importlib.util.find_spec("benchmarks.guards_pii"):
        from benchmarks import guards_pii

        for title, headings, rows in guards_pii.measure(parsed.data, figures, quick=parsed.quick):
            show(title, headings, rows)
    parts = [(name, f"{figure:.3f}") for name, figure in figures.items()]
    report("Guards", ("", "figure"), parts, figures, Arguments(parsed.json, parsed.quick))


if __name__ == "__main__":
    main()
