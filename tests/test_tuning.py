"""The search for hyperparameters: what it finds, when it ends, and that it goes on after a kill."""

import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Self

import pytest

from ml.tuning import Report, Trial, tune
from tests.installations import await_true
from warehouse import tenants, tuning_trials
from warehouse.database import Database

if TYPE_CHECKING:
    import optuna

WINDOWS = 3
STUDY = tuning_trials.study_name("0" * 64, "parabola")


@dataclass(frozen=True)
class Parabola:
    """Its loss is least where x is 3 and the shape is round."""

    x: float = 8.0
    shape: str = "square"

    @classmethod
    def suggest(cls, trial: "optuna.Trial") -> Self:
        x = trial.suggest_float("x", 0, 10)
        return cls(x, trial.suggest_categorical("shape", ["square", "round"]))

    def loss(self) -> float:
        return (self.x - 3) ** 2 + (self.shape == "square")


def _evaluate(candidate: Parabola, report: Report) -> float:
    for window in range(WINDOWS):
        report(window, candidate.loss() + window / 10)
    return candidate.loss()


def _for_ever() -> float:
    return 1.0


def test_the_best_of_the_trials_is_found_and_the_defaults_come_first() -> None:
    tuned = tune(Parabola, _evaluate, trials=40, time_left=_for_ever)
    assert tuned.trials[0].parameters == {"x": 8.0, "shape": "square"}
    assert [trial.number for trial in tuned.trials] == list(range(40))
    assert (tuned.best.shape, tuned.loss) == ("round", tuned.best.loss())
    assert tuned.best.x == pytest.approx(3, abs=0.5)
    assert tune(Parabola, _evaluate, trials=40, time_left=_for_ever) == tuned, "the same seed"


def test_a_trial_that_does_worse_than_others_is_cut_short() -> None:
    windows: list[int] = []

    def evaluate(candidate: Parabola, report: Report) -> float:
        windows.append(0)

        def told(window: int, loss: float) -> None:
            windows[-1] += 1
            report(window, loss)

        return _evaluate(candidate, told)

    tuned = tune(Parabola, evaluate, trials=30, time_left=_for_ever)
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert pruned
    assert {trial.value for trial in pruned} == {None}
    assert {windows[trial.number] for trial in pruned} <= {1, 2}
    assert [len(trial.intermediate) for trial in tuned.trials] == windows


def test_no_trial_begins_or_goes_on_when_time_is_over() -> None:
    left = count(10, -1)
    told: list[Trial] = []
    tuned = tune(
        Parabola,
        _evaluate,
        trials=1000,
        time_left=lambda: float(next(left)),
        record=told.append,
    )
    # Asked once before each trial and after each of its windows.
    assert len(tuned.trials) == 2
    assert list(tuned.trials) == told
    none = tune(Parabola, _evaluate, trials=1000, time_left=lambda: 0.0)
    assert (none.best, none.loss, none.trials) == (Parabola(), None, ())


def test_what_evaluating_raises_ends_the_search() -> None:
    class CancelledError(Exception):
        pass

    def evaluate(_candidate: Parabola, _report: Report) -> float:
        raise CancelledError

    with pytest.raises(CancelledError):
        tune(Parabola, evaluate, trials=5, time_left=_for_ever)
    with pytest.raises(ValueError, match="expected a finite number"):
        tune(Parabola, lambda _c, _r: float("nan"), trials=5, time_left=_for_ever)


def test_a_search_that_goes_on_does_not_draw_again_what_was_drawn_first() -> None:
    first = tune(Parabola, _evaluate, trials=5, time_left=_for_ever)
    again = tune(Parabola, _evaluate, trials=10, time_left=_for_ever, finished=first.trials)
    assert again.trials[:5] == first.trials
    assert len({trial.parameters["x"] for trial in again.trials}) == 10


def test_trials_of_another_search_space_are_left_alone() -> None:
    former = [
        Trial(0, {"x": 8.0}, {}, 0.0, "complete"),
        Trial(1, {"x": 80.0, "shape": "round"}, {}, 0.0, "complete"),
    ]
    tuned = tune(Parabola, _evaluate, trials=3, time_left=_for_ever, finished=former)
    assert [trial.number for trial in tuned.trials] == [2, 3, 4]
    assert tuned.loss == tuned.best.loss()


def search(url: str, tenant_id: str, trials: int) -> None:
    """A search that stores its trials, and says on the output what it evaluates."""
    database = Database(url)
    with database.tenant(tenant_id) as connection:
        finished = tuning_trials.finished(connection, tenant_id, STUDY)

    def evaluate(candidate: Parabola, report: Report) -> float:
        print(candidate.x, flush=True)
        return _evaluate(candidate, report)

    def record(trial: Trial) -> None:
        with database.tenant(tenant_id) as connection:
            tuning_trials.record(connection, tenant_id, STUDY, trial)

    tune(
        Parabola,
        evaluate,
        trials=trials,
        time_left=_for_ever,
        finished=finished,
        record=record,
    )
    database.close()


def _search(database: Database, trials: int) -> "subprocess.Popen[str]":
    call = f"search({database.url!r}, 'acme', {trials})"
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.test_tuning import search; {call}"],
        stdout=subprocess.PIPE,
        text=True,
    )


def _finished(database: Database) -> list[Trial]:
    with database.tenant("acme") as connection:
        return tuning_trials.finished(connection, "acme", STUDY)


def test_a_search_that_was_killed_goes_on_behind_its_finished_trials(database: Database) -> None:
    tenants.add(database, "acme")
    killed = _search(database, 10_000)
    await_true("some trials", lambda: len(_finished(database)) >= 8)
    killed.kill()
    killed.communicate()
    before = _finished(database)

    again = _search(database, len(before) + 12)
    output, _ = again.communicate()
    after = _finished(database)
    assert again.returncode == 0
    assert after[: len(before)] == before
    assert [trial.number for trial in after] == list(range(len(before) + 12))
    tried = [float(line) for line in output.split()]
    assert tried == [trial.parameters["x"] for trial in after[len(before) :]]
    assert not set(tried) & {trial.parameters["x"] for trial in before}


def test_a_study_is_one_tenants(database: Database) -> None:
    trial = Trial(0, {"x": 1.0}, {0: 0.5}, None, "pruned")
    for tenant_id in ("acme", "brio"):
        tenants.add(database, tenant_id)
    with database.tenant("acme") as connection:
        tuning_trials.record(connection, "acme", STUDY, trial)
    with database.tenant("brio") as connection:
        assert tuning_trials.finished(connection, "brio", STUDY) == []
        assert tuning_trials.finished(connection, "acme", STUDY) == []
    assert _finished(database) == [trial]
