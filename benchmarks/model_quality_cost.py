"""What a training costs, without and with a search for hyperparameters."""

import time
from collections.abc import Callable

from benchmarks.model_quality_rows import history, of_the_bank, of_the_simulator
from benchmarks.model_quality_ways import all_known
from benchmarks.reporting import console, show
from ml import tuning
from ml.algorithm import Algorithm
from ml.history import History
from ml.training import Search, train

BANK_ROWS = 20_000
TRIALS = 20
# No trial is begun after it; as a tenant's own settings bound it by default.
MOST_SECONDS = 600.0


def measure(quick: bool) -> dict[str, float]:
    trials, tenant = (2, "brio") if quick else (TRIALS, "acme")
    histories = {
        "the bank's calls": (history(of_the_bank()[: 4_000 if quick else BANK_ROWS]), 1),
        f"simulated tenant {tenant}": (of_the_simulator(tenant), 30),
    }
    rows, seconds = [], {}
    for name, (past, horizon_days) in histories.items():
        for search in (None, trials):
            spent, completed = _cpu_s(past, horizon_days, search)
            each = spent / len(past.label) * 10_000
            seconds[name, search is not None] = each
            searched = "no search" if search is None else f"{trials} trials, {completed} to the end"
            rows.append((name, f"{len(past.label):,}", searched, f"{spent:.1f}", f"{each:.2f}"))
            console.print(f"[dim]{name}, {searched}: {spent:.1f} CPU s[/dim]")
    show("Training", ("", "rows", "hyperparameters", "CPU s", "CPU s per 10,000 rows"), rows)
    worst = {
        tuned: max(s for (_, t), s in seconds.items() if t == tuned) for tuned in (False, True)
    }
    return {"train_cpu_s_per_10k": worst[False], "train_cpu_s_per_10k_tuned": worst[True]}


def _cpu_s(past: History, horizon_days: int, trials: int | None) -> tuple[float, int]:
    """CPU seconds of one training, and the trials of its search that were not cut short."""
    completed: list[float] = []
    began = time.process_time()
    train(
        past,
        trained_at=all_known(past),
        horizon_days=horizon_days,
        search=None if trials is None else _search(trials, completed),
    )
    return time.process_time() - began, len(completed)


def _search(trials: int, completed: list[float]) -> Search:
    ends = time.monotonic() + MOST_SECONDS

    def search(
        algorithm: type[Algorithm],
        evaluate: Callable[[Algorithm, Callable[[int, float], None]], float],
    ) -> Algorithm:
        tuned = tuning.tune(
            algorithm, evaluate, trials=trials, time_left=lambda: ends - time.monotonic()
        )
        completed.extend(trial.value for trial in tuned.trials if trial.value is not None)
        return tuned.best

    return search
