"""The bank's calls as a tenant lives them: trained on the newest 20,000, the next 1,000 scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import logit

from benchmarks.model_quality_rows import history, matrix, of_the_bank
from benchmarks.model_quality_ways import WITH_MANY_ROWS, pipeline
from benchmarks.reporting import console, show
from ml.comparison import losses
from ml.metrics import Bools, Floats, auc, figures
from ml.model import ConfidenceTable
from ml.training import Trained

TRAINED_ON = 20_000
WINDOW = 1_000
# Neighbouring rows share a rate that moves: they are drawn together.
BLOCK_ROWS = 500
RESAMPLES = 2_000
FEWEST_TO_COVER = 30
OURS = "Galena"


@dataclass(frozen=True, eq=False)
class Scored:
    """One window: what happened, and each way's probabilities, by its name."""

    outcome: Bools
    probability: dict[str, Floats]


def measure(quick: bool) -> dict[str, float]:
    calls = of_the_bank()
    starts = range(TRAINED_ON, calls.height, WINDOW)
    windows, said, held = [], [], []
    for start in list(starts)[: 1 if quick else None]:
        scored, trained, covered = _window(calls, start)
        windows.append(scored)
        held += covered
        if trained.report.hold_out and trained.report.hold_out.coverage is not None:
            said.append(trained.report.hold_out.coverage)
        console.print(f"[dim]{_line(start, scored, trained)}[/dim]")
    own = _summary(windows, OURS)
    headings = ("", "window AUC", "AUC", "log-loss", "Brier", "lift at 10 %", "ECE")
    show(
        f"{len(windows)} windows of the next {WINDOW:,} calls, trained on {TRAINED_ON:,}",
        (*headings, "log-loss less Galena's, 95 %"),
        [
            (name, *(f"{value:.4f}" for value in _summary(windows, name)), _against(windows, name))
            for name in windows[0].probability
        ],
    )
    inside = float(np.mean(held))
    console.print(
        f"intervals of 90 % held {np.mean(said):.1%} of the rates in the trainings' own windows,"
        f" {inside:.1%} in the next {WINDOW:,} calls ({len(held)} bins)"
    )
    names = ("window_auc", "pooled_auc", "log_loss", "brier", "lift10", "ece")
    found = {f"bank_{name}": value for name, value in zip(names, own, strict=True)}
    return {**found, "bank_coverage": inside}


def _window(calls: pl.DataFrame, start: int) -> tuple[Scored, Trained, list[bool]]:
    known, newest = calls[start - TRAINED_ON : start], calls[start : start + WINDOW]
    past = history(known)
    rows, outcome = matrix(past.spec, newest), newest["label"].to_numpy()
    trained, scores = pipeline(past, rows, horizon_days=1)
    sample = past.sample(past.all_rows(), {})
    probability = {OURS: scores.probability}
    for name, way in WITH_MANY_ROWS.items():
        probability[name] = way(sample, rows)
    covered = _covered(trained.model.confidence, scores.probability, outcome)
    return Scored(outcome, probability), trained, covered


def _line(start: int, scored: Scored, trained: Trained) -> str:
    """What was chosen for a window, and its log-loss there."""
    report, evidence = trained.report, trained.model.evidence
    chosen = f"{evidence.stage}, {report.algorithm}, {report.calibration}"
    chosen += f" ({report.lacking})" if report.lacking else ""
    own, best = (_loss(scored, name).mean() for name in (OURS, "LightGBM of depth 2 by hand"))
    return f"{start:,}: {chosen}; log-loss {own:.4f}, depth 2 by hand {best:.4f}"


def _summary(windows: Sequence[Scored], name: str) -> tuple[float, ...]:
    """Mean AUC of the windows, then the figures of all their rows together."""
    outcome = np.concatenate([window.outcome for window in windows])
    found = figures(outcome, np.concatenate([window.probability[name] for window in windows]))
    area = float(np.mean([auc(window.outcome, window.probability[name]) for window in windows]))
    return area, found.auc, found.log_loss, found.brier, found.lift10, found.ece


def _against(windows: Sequence[Scored], name: str) -> str:
    """The log-loss less the pipeline's, with the interval of a paired bootstrap over blocks."""
    if name == OURS:
        return ""
    more = np.concatenate([_loss(window, name) - _loss(window, OURS) for window in windows])
    blocks = np.array_split(more, max(len(more) // BLOCK_ROWS, 2))
    sums = np.array([block.sum() for block in blocks])
    rows = np.array([len(block) for block in blocks])
    drawn = np.random.default_rng(0).integers(len(blocks), size=(RESAMPLES, len(blocks)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / rows[drawn].sum(axis=1), [0.025, 0.975])
    return f"{more.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def _loss(window: Scored, name: str) -> Floats:
    probability = np.clip(window.probability[name], 1e-15, 1 - 1e-15)
    return losses(window.outcome, np.asarray(logit(probability)))


def _covered(known: ConfidenceTable, probability: Floats, outcome: Bools) -> list[bool]:
    """Of each bin with enough of these rows, whether their rate is where the interval says, with
    what chance adds to it."""
    bins = np.searchsorted(known.edges, np.asarray(logit(probability)))
    found = []
    for some in np.flatnonzero(np.bincount(bins) >= FEWEST_TO_COVER):
        happened = outcome[bins == some]
        low, high = float(known.low[some]), float(known.high[some])
        rate = (happened.sum() + 0.5) / (len(happened) + 1)
        noise = 1.645 * np.sqrt(rate * (1 - rate) / len(happened))
        found.append(bool(abs(rate - (low + high) / 2) <= np.hypot((high - low) / 2, noise)))
    return found
