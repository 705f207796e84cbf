"""Outcomes that have nothing to do with the columns: how often the base rate is served."""

from dataclasses import replace

import numpy as np
import polars as pl

from benchmarks.model_quality_rows import history, of_the_bank
from benchmarks.model_quality_ways import all_known
from benchmarks.reporting import console, show, told
from ml.training import train

SIZES = (4_000, 300)
SHUFFLES = 100


def measure(quick: bool) -> dict[str, float]:
    calls, shuffles = of_the_bank(), 4 if quick else SHUFFLES
    found = {}
    for size in SIZES:
        with told(f"{shuffles} shuffles of {size:,} labels"):
            found[size] = sum(_silent(calls, size, seed) for seed in range(shuffles))
    show(
        f"{shuffles} shuffles of the labels: nothing is there to be learnt",
        ("labels", "said so and served the base rate"),
        [(f"{size:,}", f"{times}") for size, times in found.items()],
    )
    return {f"noise_base_rate_{size}": float(times) for size, times in found.items()}


def _silent(calls: pl.DataFrame, size: int, seed: int) -> bool:
    """Whether the base rate is served and the report says that there is no signal."""
    random = np.random.default_rng(seed)
    rows = calls[np.sort(random.permutation(calls.height)[:size])]
    past = history(rows)
    past = replace(past, label=random.permutation(past.label))
    trained = train(past, trained_at=all_known(past), horizon_days=1)
    report, stage = trained.report, trained.model.evidence.stage
    if stage != "base_rate":
        console.print(f"[dim]{size:,} labels, shuffle {seed}: {stage}, p = {report.signal}[/dim]")
    return stage == "base_rate" and "no signal" in (report.lacking or "")
