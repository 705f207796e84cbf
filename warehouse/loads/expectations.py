"""Great Expectations holds a load's figures against the limits, and its rows' times against reason.

The figures are counted by polars: row-wise expectations on 20 columns of text cost Great
Expectations more than the whole import. What it judges are a frame of figures, one row per column
of the load, and the times of every row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from warehouse.loads.figures import Figure
from warehouse.loads.limits import LIMITS, MOST_CONTRADICTIONS, Severity
from warehouse.loads.profile import BEGINNINGS, Records

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation import Expectation

_ORDER: tuple[Severity, ...] = ("info", "warning", "critical")
# Checks that know no last good load.
ABSOLUTE = {"order of times", "future"}
# As imports allow it: the end of today may be tomorrow in UTC.
_GRACE = timedelta(days=1)


@dataclass(frozen=True)
class Failure:
    """An expectation that was not met. expectation: Great Expectations' name of it. severity:
    critical blocks the load."""

    check: str
    column: str
    found: str
    expected: str
    severity: Severity
    expectation: str

    def __str__(self) -> str:
        subject = f"{self.check} of {self.column!r}" if self.column else self.check
        return f"{subject}: {self.found}; expected {self.expected}"


def prepare() -> None:
    """Import Great Expectations, which takes 3 s of CPU, before a transaction holds locks.

    In a thread beside it was tried: its modules import each other in circles, and deadlock.
    """
    import great_expectations  # noqa: F401


def judge(figures: Sequence[Figure], records: Records, now: datetime) -> list[Failure]:
    """What is not as expected, each check of each column once, the worst first."""
    found = [*_of_figures(figures), *_of_times(records, now)]
    worst: dict[tuple[str, str], Failure] = {}
    for failure in found:
        known = worst.get((failure.check, failure.column))
        if known is None or _ORDER.index(failure.severity) > _ORDER.index(known.severity):
            worst[failure.check, failure.column] = failure
    return sorted(worst.values(), key=lambda failure: -_ORDER.index(failure.severity))


def _of_figures(figures: Sequence[Figure]) -> Iterator[Failure]:
    import pandas as pd

    known = {(figure.check, figure.column): figure for figure in figures}
    checks = list(dict.fromkeys(figure.check for figure in figures))
    columns = list(dict.fromkeys(figure.column for figure in figures))
    frame = pd.DataFrame(
        {
            check: [
                figure.value if (figure := known.get((check, name))) else float("nan")
                for name in columns
            ]
            for check in checks
        }
    )
    frame["column"] = columns
    limits: list[tuple[str, Severity, float | None]] = [("new column", "info", 0.0)]
    for limit in LIMITS:
        limits += [(limit.check, "warning", limit.warns), (limit.check, "critical", limit.blocks)]
    suite = [
        _at_most(check, most, severity)
        for check, severity, most in limits
        if check in checks and most is not None
    ]
    complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["column"]}
    for unmet, result in _unmet(frame, suite, complete):
        for one in result["unexpected_index_list"]:
            figure = known[unmet.kwargs["column"], one["column"]]
            yield Failure(
                figure.check,
                figure.column,
                figure.found,
                figure.expected,
                unmet.severity.value,
                unmet.type,
            )


def _of_times(records: Records, now: datetime) -> Iterator[Failure]:
    import pandas as pd

    if not records.rows:
        return
    beginning = BEGINNINGS[records.table]
    # As seconds: of 200,000 rows with times Great Expectations took 1.5 s instead of 0.13 s.
    frame = pd.DataFrame(
        {
            time.name: (time.dt.epoch("us") / 1_000_000).to_numpy(allow_copy=True)
            for time in records.times
        }
    )
    latest = now + _GRACE
    suite = []
    for severity, share in MOST_CONTRADICTIONS.items():
        for name in records.times.columns:
            suite.append(_at_most(name, latest.timestamp(), severity, mostly=1 - share))
            if name != beginning:
                suite.append(_not_before(beginning, name, severity, mostly=1 - share))
    for unmet, result in _unmet(frame, suite, {"result_format": "BASIC"}):
        end = unmet.kwargs.get("column_A")
        share_found = f"{result['unexpected_percent']:.1f} % of the times"
        yield Failure(
            "order of times" if end else "future",
            end or unmet.kwargs["column"],
            f"{share_found} lie {f'before {beginning}' if end else 'ahead of now'}",
            f"none before {beginning}" if end else f"none after {latest:%Y-%m-%d}",
            unmet.severity.value,
            unmet.type,
        )


def _at_most(column: str, most: Any, severity: Severity, mostly: float = 1.0) -> "Expectation":
    from great_expectations.expectations.core import expect_column_values_to_be_between as module
    from great_expectations.expectations.metadata_types import FailureSeverity

    return module.ExpectColumnValuesToBeBetween(
        column=column, max_value=most, mostly=mostly, severity=FailureSeverity(severity)
    )


def _not_before(beginning: str, end: str, severity: Severity, mostly: float) -> "Expectation":
    from great_expectations.expectations.core import (
        expect_column_pair_values_a_to_be_greater_than_b as module,
    )
    from great_expectations.expectations.metadata_types import FailureSeverity

    return module.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=end,
        column_B=beginning,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        mostly=mostly,
        severity=FailureSeverity(severity),
    )


def _unmet(
    frame: "pd.DataFrame", suite: "Sequence[Expectation]", result_format: dict[str, Any]
) -> Iterator[tuple[Any, Any]]:
    """The configuration and result of each expectation that the frame does not meet.

    The context lives in memory: no file, no progress bar, and nothing is sent anywhere.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # Without a configuration of ours it makes a temporary folder for each load's report.
    settings = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=settings)
    whole = context.data_sources.add_pandas("load").add_dataframe_asset("load")
    batch = whole.add_batch_definition_whole_dataframe("load").get_batch({"dataframe": frame})
    checked = batch.validate(
        gx.ExpectationSuite(name="load", expectations=list(suite)), result_format=result_format
    )
    for one in checked.results:
        if one.exception_info.get("raised_exception", True):
            raise RuntimeError(f"Great Expectations could not check: {one.exception_info}")
        if not one.success:
            yield one.expectation_config, one.result
