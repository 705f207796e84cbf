"""The search for hyperparameters: bounded in trials and time, and able to go on after a kill.

Method: Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NIPS 2011), with trials that do worse than the median of the others' at the same
window cut short (Golovin et al., "Google Vizier", KDD 2017).
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import optuna

# Windows of a trial are compared with those of at least so many others before it is cut short.
_FEWEST_TO_PRUNE = 4


class Searchable(Protocol):
    """An algorithm as a frozen dataclass, whose fields are its hyperparameters, each with a default
    and of a plain JSON value."""

    @classmethod
    def suggest(cls, trial: "optuna.Trial") -> Self:
        """Its search space: each hyperparameter is asked for by the name of its field."""


A = TypeVar("A", bound=Searchable)
# Told the window that was just measured, from 0 on, and the loss so far, lower is better.
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    number: counted from 0 within its study. parameters: what was tried, by name. intermediate: the
    loss reported after each window. value: the loss; None of a trial that was pruned.
    """

    number: int
    parameters: Mapping[str, Any]
    intermediate: Mapping[int, float]
    value: float | None
    state: Literal["complete", "pruned"]


@dataclass(frozen=True)
class Tuned(Generic[A]):
    """best: the algorithm with the least loss. loss: its; None where no trial was completed, and
    best is the algorithm's default. trials: all that have ended, earlier ones included."""

    best: A
    loss: float | None
    trials: tuple[Trial, ...]


def tune(
    algorithm: type[A],
    evaluate: Callable[[A, Report], float],
    *,
    trials: int,
    time_left: Callable[[], float],
    finished: Sequence[Trial] = (),
    record: Callable[[Trial], None] = lambda _trial: None,
    seed: int = 0,
) -> Tuned[A]:
    """Search the algorithm's hyperparameters for the least loss.

    evaluate: the loss of an instance, such as its log-loss over rolling windows; it calls report
        after each window, which may end the trial by an exception that it must let pass.
    trials: how many there are to be in all, those of `finished` included.
    time_left: seconds until the search has to end; none is begun after that, and one that is under
        way ends at its next report, unfinished and unrecorded.
    finished: trials of this study that an earlier search has recorded. They are not repeated: the
        search goes on behind the last of them.
    record: called with each trial as it ends.

    The first trial has the algorithm's defaults, so that what is found is never worse than they
    are. Raises ValueError where evaluate gives no finite loss.
    """
    search = _Search(algorithm, finished, seed)
    while len(search.trials) < trials and time_left() > 0:
        ended = search.step(evaluate, time_left)
        if ended is None:
            break
        record(ended)
    return search.tuned()


class _OutOfTimeError(Exception):
    pass


class _Search(Generic[A]):
    """A study of Optuna's in memory, filled with the trials that were."""

    def __init__(self, algorithm: type[A], finished: Sequence[Trial], seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._algorithm = algorithm
        self.trials: list[Trial] = []
        self._next = max((trial.number + 1 for trial in finished), default=0)
        # With one seed for all, a search that goes on would draw again what was drawn first.
        sampler = optuna.samplers.TPESampler(seed=seed + self._next)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_FEWEST_TO_PRUNE)
        self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        for trial in sorted(finished, key=lambda trial: trial.number):
            if (known := _as_optuna(algorithm, trial)) is not None:
                self._study.add_trial(known)
                self.trials.append(trial)
        if not self.trials:
            self._study.enqueue_trial(vars(algorithm()))

    def step(
        self, evaluate: Callable[[A, Report], float], time_left: Callable[[], float]
    ) -> Trial | None:
        """The next trial, ended; None when time ended first."""
        import optuna

        asked = self._study.ask()
        candidate = self._algorithm.suggest(asked)

        def report(window: int, loss: float) -> None:
            asked.report(loss, window)
            if asked.should_prune():
                raise optuna.TrialPruned
            if time_left() <= 0:
                raise _OutOfTimeError

        try:
            loss: float | None = evaluate(candidate, report)
        except optuna.TrialPruned:
            loss = None
        except _OutOfTimeError:
            return None
        if loss is not None and not math.isfinite(loss):
            raise ValueError(f"The loss of {asked.params} is {loss}; expected a finite number.")
        pruned = optuna.trial.TrialState.PRUNED
        told = self._study.tell(asked, loss, state=pruned if loss is None else None)
        ended = Trial(
            self._next,
            dict(asked.params),
            dict(told.intermediate_values),
            loss,
            "pruned" if loss is None else "complete",
        )
        self._next += 1
        self.trials.append(ended)
        return ended

    def tuned(self) -> Tuned[A]:
        complete = [trial for trial in self.trials if trial.value is not None]
        if not complete:
            return Tuned(self._algorithm(), None, tuple(self.trials))
        best = min(complete, key=lambda trial: (trial.value, trial.number))
        return Tuned(_rebuilt(self._algorithm, best)[0], best.value, tuple(self.trials))


def _rebuilt(algorithm: type[A], trial: Trial) -> "tuple[A, optuna.trial.FixedTrial]":
    """The algorithm that a trial tried. Its search space is asked anew rather than stored."""
    import optuna

    fixed = optuna.trial.FixedTrial(dict(trial.parameters))
    return algorithm.suggest(fixed), fixed  # type: ignore[arg-type]


def _as_optuna(algorithm: type[A], trial: Trial) -> "optuna.trial.FrozenTrial | None":
    """A former trial for the sampler; None where the search space no longer has such a point."""
    import optuna

    pruned = trial.state == "pruned"
    states = optuna.trial.TrialState
    try:
        with warnings.catch_warnings():
            # Of a point outside of the space, which is refused below.
            warnings.simplefilter("ignore")
            _, fixed = _rebuilt(algorithm, trial)
        return optuna.trial.create_trial(
            state=states.PRUNED if pruned else states.COMPLETE,
            value=trial.value,
            params=fixed.params,
            distributions=fixed.distributions,
            intermediate_values=dict(trial.intermediate),
        )
    except ValueError:
        return None
