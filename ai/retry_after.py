"""How long a provider asks to wait, in each form in which one does."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


def seconds_to_wait(
    headers: Mapping[str, str], details: Iterable[Mapping[str, Any]], now: datetime | None
) -> float | None:
    """Seconds from now; None when nothing is asked for.

    From the headers retry-after-ms, as OpenAI's library reads it, or Retry-After (RFC 9110, section
    10.2.3: seconds, or a date), or from the RetryInfo among the details of an error of Google's.
    now: without it a date counts from the Date of the same response.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    if (seconds := _number(said)) is not None:
        return seconds
    if (until := _date(said)) and (since := now or _date(headers.get("date"))):
        return max(0.0, (until - since).total_seconds())
    for detail in details:
        if (seconds := _number(str(detail.get("retryDelay", "")).removesuffix("s"))) is not None:
            return seconds
    return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
