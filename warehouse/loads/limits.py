"""How far a load may differ from the last good one: every limit of the data checks, and why.

A figure is the larger the worse; beyond `warns` it is told, beyond `blocks` nothing of the load is
published. Shares enter with the end of their interval that speaks for the load (see interval()), so
that what a small load shows by chance is within the limits.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

# Great Expectations' own: info is said, warning told, critical blocks.
Severity = Literal["info", "warning", "critical"]

# Of fewer rows no share says anything, and what they can spoil is themselves.
LEAST_ROWS = 30
# With so many rows a load is as good a measure as any; a smaller one says less than an older large
# one does.
ENOUGH_ROWS = 1000
# Standard normal quantile of a 99.9 % interval: some 20 columns are compared per load, and one
# false alarm in 50 loads would be too many.
_Z = 3.3


@dataclass(frozen=True)
class Limit:
    """check: what the figure tells. warns, blocks: above which; None is never."""

    check: str
    warns: float | None
    blocks: float | None


LIMITS = (
    # The share of rows that had a value in a column that is gone. A score would read it as missing
    # everywhere; a column that was hardly filled moves no score.
    Limit("schema", 0.0, 0.05),
    # The share of values that are no longer of the column's kind: each counts as missing. 1 % is
    # what kinds are found by; typing errors stay below 5 %, another format does not.
    Limit("kind", 0.05, 0.2),
    # By how much the missing share grew. Forms change and lose some; a third of a column lost in
    # one load is a broken export (2 % that become 60 %, in a hundred rows or more).
    Limit("nulls", 0.1, 0.3),
    # The share of numbers far outside (far()) of what there was. Outliers are fewer than 2 %; a
    # fifth is another unit.
    Limit("ranges", 0.02, 0.2),
    # By how much the share of rows grew that say the same as another under another id.
    Limit("duplicates", 0.05, 0.2),
    # Without a load to compare with: poor files have equal rows by nature.
    Limit("duplicates in a first load", 0.2, None),
    # The share of rows whose id an earlier row has: the file is a list of something else.
    Limit("repeated ids", 0.01, 0.2),
    # The share of rows set aside: what is left of a load is no sample of it.
    Limit("rows set aside", 0.05, 0.5),
    # The share of rows that are gone, of a whole reading: their records would be deleted.
    Limit("fewer rows", 0.2, 0.5),
    # Rows per row of the last good whole reading. Companies grow; duplicates are found as such.
    Limit("more rows", 10.0, None),
    # Days by which a whole reading lacks the newest twentieth of the last: an old copy.
    Limit("freshness of a whole reading", None, 0.0),
    # Days by which the newest row of a file that changes records is older than the last file's. A
    # correction of old records looks the same.
    Limit("freshness of a file", 1.0, None),
    # The share of converted leads that the load takes that back of: an old copy, another mapping.
    Limit("conversions taken back", 0.01, 0.05),
    # By how much the log-odds of conversion among ended leads moved. Markets do that: the bank's
    # rate went from 3 % to 40 % within two years, which is 3.1.
    Limit("outcomes", 2.0, None),
    # How many times rarer the conversions, or the losses, became: all converted, or none.
    Limit("one outcome only", 3.0, 6.0),
)

# The share of rows that may contradict themselves: what ended before it began, or lies ahead.
# Files have them set aside; CRMs that write into the tables can leave a few.
MOST_CONTRADICTIONS: dict[Severity, float] = {"warning": 0.001, "critical": 0.05}


def interval(count: int, of: int) -> tuple[float, float]:
    """Wilson's 99.9 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = count / of, _Z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def grown(count: int, of: int, count_before: int, of_before: int) -> float:
    """By how much a share surely grew; negative where it may not have."""
    return interval(count, of)[0] - interval(count_before, of_before)[1]


def far(low: float, high: float) -> tuple[float, float, float]:
    """What is far outside, of numbers whose 1 % and 99 % quantiles were these: below the first,
    above the second, or positive and below the third.

    Five times their width or size beyond them: a counter that goes on counting, or the bank's
    employment variation rate, which fell from 1.1 to -3.4, stay within. Where all were positive, so
    are a twentieth of the lowest and less: cents that become euros are noticed as euros that become
    cents are.
    """
    width = 5 * max(high - low, abs(low), abs(high), 1.0)
    return low - width, high + width, max(0.0, low / 20)
