"""Which leads wait for a new score, and the line of each that got one."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.text import Text

from warehouse import score_history, tenants
from warehouse.database import Database
from warehouse.errors import GalenaError, TenantNotFoundError
from warehouse.standing import Standing, standing

# A lead that waits longer is told of, and waited for no more.
_PATIENCE_S = 120.0
# Lines shown at once at most, after as many seconds without one.
_MOST_LINES = 10
_REASON_WIDTH = 46


@dataclass(frozen=True)
class _Waiting:
    """A lead whose change was committed. fate: how that ended it, if it did."""

    before: Standing
    committed: float
    fate: str | None


@dataclass(frozen=True)
class _Line:
    """A lead and what became of it. seconds: from COMMIT to when it was seen."""

    tenant_id: str
    waited: _Waiting
    after: Standing
    seconds: float

    @property
    def movement(self) -> float:
        before, after = self.waited.before.probability, self.after.probability
        return abs((after or 0.0) - (before or 0.0))


class Rescored:
    """Follows changed leads to their new scores, and shows these, about one line a second.

    Of more than that, those whose scores moved most are shown, and the others counted.
    """

    def __init__(self, console: Console, database: Database) -> None:
        self._console, self._database = console, database
        self._waiting: dict[str, dict[str, _Waiting]] = defaultdict(dict)
        self._lines: list[_Line] = []
        self._looked_at = time.monotonic()
        # How many lines may be shown: one more with each second.
        self._credit = float(_MOST_LINES)

    def await_scores(self, tenant_id: str, before: Sequence[Standing], fate: str | None) -> None:
        """Follow leads whose change is committed.

        before: where they stood in the transaction that changed them. A lead that waits already
        goes on waiting since its first change.
        """
        now = time.monotonic()
        for lead in before:
            first = self._waiting[tenant_id].get(lead.lead_id, _Waiting(lead, now, fate))
            self._waiting[tenant_id][lead.lead_id] = replace(first, fate=fate)

    def step(self) -> None:
        """Look for new scores, and show what there is to show."""
        for tenant_id, waiting in self._waiting.items():
            if waiting:
                self._look(tenant_id, waiting)
        now = time.monotonic()
        self._credit = min(self._credit + now - self._looked_at, _MOST_LINES)
        self._looked_at = now
        if self._lines and self._credit >= 1:
            most = int(self._credit)
            self._credit -= min(most, len(self._lines))
            self._show(most)

    def _look(self, tenant_id: str, waiting: dict[str, _Waiting]) -> None:
        """Take the leads that are done, and those that waited too long."""
        try:
            with self._database.tenant(tenant_id) as connection:
                active = tenants.find(connection).status == "active"
                found = standing(connection, tenant_id, list(waiting))
        except TenantNotFoundError:
            active = False
        if not active:
            waiting.clear()
            return
        now = time.monotonic()
        for after in found:
            waited = waiting[after.lead_id]
            seconds = now - waited.committed
            if _is_done(waited, after) or seconds > _PATIENCE_S:
                del waiting[after.lead_id]
                self._lines.append(_Line(tenant_id, waited, after, seconds))

    def _show(self, most: int) -> None:
        self._lines.sort(key=lambda line: -line.movement)
        shown, more = self._lines[:most], len(self._lines) - most
        for line in shown:
            self._print(_text(line, self._why(line)))
        if more > 0:
            self._print(Text(f"and {more} more", style="dim"))
        self._lines = []

    def _why(self, line: _Line) -> str:
        """What moved the score most, in words."""
        before, after, fate = line.waited.before, line.after, line.waited.fate
        if not _is_done(line.waited, after):
            return f"waits longer than {_PATIENCE_S:.0f} s for its score"
        if fate is not None:
            return f"{fate}: no longer scored"
        if before.calculated_at is None or after.calculated_at is None:
            return "new"
        try:
            with self._database.tenant(line.tenant_id) as connection:
                moved = score_history.moved(
                    connection,
                    line.tenant_id,
                    after.lead_id,
                    before.calculated_at,
                    after.calculated_at,
                )
        except GalenaError as error:
            return str(error)
        return next((move.words for move in moved.moves if move.change), "no reason moved")

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


def _is_done(waited: _Waiting, after: Standing) -> bool:
    """Whether all its changes were taken, and what they ask for is there."""
    if after.waits:
        return False
    if waited.fate is not None:
        return after.calculated_at is None
    return after.calculated_at not in (None, waited.before.calculated_at)


def _text(line: _Line, why: str) -> Text:
    """tenant, lead, old score -> new score, why, delay: 98 columns with the sample tenants."""
    before, after = line.waited.before.probability, line.after.probability
    if len(why) > _REASON_WIDTH:
        why = f"{why[: _REASON_WIDTH - 1]}…"
    rose = (after or 0) >= (before or 0)
    scores = f"{_score(before):>5} -> {_score(after):>5}"
    return Text.assemble(
        (f"{line.tenant_id:5} ", "bold"),
        f"{line.after.lead_id:14} ",
        (scores, "green" if rose else "red"),
        f"  {why:{_REASON_WIDTH}} ",
        (f"{line.seconds:5.1f} s", "dim"),
    )


def _score(probability: float | None) -> str:
    """The probability x 100 to a tenth: most changes move a score by less than 1."""
    return "-" if probability is None else f"{100 * probability:.1f}"
