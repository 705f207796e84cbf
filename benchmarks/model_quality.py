"""How good the scores are: against what tenants have today, with few labels, and with no signal.

In parts, each printed as it ends: the bank's calls month by month; few labels; labels shuffled;
leakage and drift; what a training costs. Seeds are fixed; about 15 minutes of CPU.
"""

import time

from benchmarks import (
    model_quality_audits,
    model_quality_bank,
    model_quality_cold_start,
    model_quality_cost,
    model_quality_noise,
)
from benchmarks.reporting import arguments, report

PARTS = {
    "the bank's calls": model_quality_bank.measure,
    "few labels": model_quality_cold_start.measure,
    "shuffled labels": model_quality_noise.measure,
    "leakage and drift": model_quality_audits.measure,
    "cost of training": model_quality_cost.measure,
}


def main() -> None:
    given = arguments(__doc__)
    figures: dict[str, float] = {}
    spent = []
    for name, measure in PARTS.items():
        wall, cpu = time.perf_counter(), time.process_time()
        figures |= measure(given.quick)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        spent.append((name, f"{wall:.0f}", f"{cpu:.0f}"))
    report("The parts of this run", ("", "s", "CPU s"), spent, figures, given)


if __name__ == "__main__":
    main()
