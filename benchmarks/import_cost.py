"""CPU time of loading the definitions, beside that of importing Dagster alone."""

import resource
import statistics
import subprocess
import sys

from benchmarks.reporting import arguments, report

LIMIT = "import dagster"
OURS = "import orchestration.definitions"


def cpu_seconds(statement: str) -> float:
    """User and system time of a fresh interpreter that runs the statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    given = arguments(__doc__)
    for statement in (LIMIT, OURS):
        cpu_seconds(statement)  # the first run compiles and fills the page cache
    pairs = [(cpu_seconds(OURS), cpu_seconds(LIMIT)) for _ in range(3 if given.quick else 11)]
    ours, limit = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    report(
        "Loading the definitions (medians of alternating runs)",
        ("", "CPU s"),
        [(f"ours: {OURS}", f"{ours:.2f}"), (f"limit: {LIMIT}", f"{limit:.2f}")],
        {"over_dagster": ratio},
        given,
    )


if __name__ == "__main__":
    main()
