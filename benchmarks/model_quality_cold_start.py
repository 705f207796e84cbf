"""A tenant with few labels: what is served, against each algorithm by itself."""

from collections import Counter

import numpy as np
import polars as pl
from scipy.stats import t

from benchmarks.model_quality_rows import history, matrix, of_the_bank
from benchmarks.model_quality_ways import WITH_FEW_ROWS, pipeline
from benchmarks.reporting import console, show
from ml.metrics import log_loss

SIZES = (40, 80, 300, 600, 1_000, 4_000)
REPEATS = 10
FIRST_SEED = 1_000
JUDGED = 8_000
OURS = "Galena"


def measure(quick: bool) -> dict[str, float]:
    calls = of_the_bank()
    loss: dict[int, dict[str, list[float]]] = {}
    stages: dict[int, Counter[str]] = {}
    for size in SIZES[:3] if quick else SIZES:
        loss[size], stages[size] = {}, Counter()
        for seed in range(FIRST_SEED, FIRST_SEED + (3 if quick else REPEATS)):
            stage, found = _repeat(calls, size, seed)
            stages[size][stage] += 1
            for name, value in found.items():
                loss[size].setdefault(name, []).append(value)
        means = {name: float(np.mean(values)) for name, values in loss[size].items()}
        told = ", ".join(f"{stage} {times}" for stage, times in stages[size].most_common())
        console.print(f"[dim]{size:,} labels: {told}; log-loss {means[OURS]:.4f}[/dim]")
    gaps = {size: _gap(found) for size, found in loss.items()}
    show(
        f"Few labels: mean log-loss on {JUDGED:,} other calls",
        ("", *(f"{size:,} labels" for size in loss)),
        [
            (name, *(f"{np.mean(found[name]):.4f}" for found in loss.values()))
            for name in (OURS, *WITH_FEW_ROWS)
        ],
    )
    show(
        "Galena less the single algorithm with the best mean, 95 %",
        ("labels", "best", "gap", "interval", "what answered"),
        [
            (
                f"{size:,}",
                best,
                f"{mean:+.4f}",
                f"{mean - half:+.4f} to {mean + half:+.4f}",
                ", ".join(f"{stage} {times}" for stage, times in stages[size].most_common()),
            )
            for size, (best, mean, half) in gaps.items()
        ],
    )
    return {"cold_start_worst_gap": max(mean for _, mean, _ in gaps.values())}


def _repeat(calls: pl.DataFrame, size: int, seed: int) -> tuple[str, dict[str, float]]:
    """The stage that answered, and each way's log-loss on rows drawn with none of the labels."""
    drawn = np.random.default_rng(seed).permutation(calls.height)
    past = history(calls[np.sort(drawn[:size])])
    judged = calls[drawn[-JUDGED:]]
    rows, outcome = matrix(past.spec, judged), judged["label"].to_numpy()
    trained, scores = pipeline(past, rows, horizon_days=1)
    sample = past.sample(past.all_rows(), {})
    found = {OURS: log_loss(outcome, scores.probability)}
    for name, way in WITH_FEW_ROWS.items():
        found[name] = log_loss(outcome, way(sample, rows))
    return trained.model.evidence.stage, found


def _gap(loss: dict[str, list[float]]) -> tuple[str, float, float]:
    """The best single algorithm, the mean of ours less its, and half the width of Student's
    interval of 95 % over the repeats."""
    best = min(WITH_FEW_ROWS, key=lambda name: float(np.mean(loss[name])))
    more = np.array(loss[OURS]) - np.array(loss[best])
    half = float(t.ppf(0.975, len(more) - 1) * more.std(ddof=1) / np.sqrt(len(more)))
    return best, float(more.mean()), half
