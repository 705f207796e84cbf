"""Rescoring what changed: tenants in turn, failures alone, one bounded transaction at a time."""

import time
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from warehouse import queue, scores
from warehouse.database import Database
from warehouse.errors import TenantNotFoundError, in_one_line
from warehouse.scoring import ChampionError, Champions, score_claimed

# Leads of one transaction: some 0.3 s, in which no other tenant has its turn.
_MOST = 2_000
# A tenant's leads that fail one after the other until the tenant is what fails: without a bound a
# million leads would be tried one by one.
_MOST_FAILURES = 10
# Seconds for which the order of the tenants is kept: looking anew costs some ms for 500 of them.
_KEPT_S = 0.5


@dataclass
class Tally:
    """What a scorer has done so far: transactions, leads with a new score, failed attempts."""

    transactions: int = 0
    leads: int = 0
    failed: int = 0


@dataclass
class Rescorer:
    """One scorer of changed leads. Any number may work at once, in any number of processes.

    run_id: stands with each score. tally: what it has done so far.
    """

    database: Database
    run_id: str
    tally: Tally = field(default_factory=Tally)
    _champions: Champions = field(default_factory=Champions)
    _served_at: dict[str, float] = field(default_factory=dict)
    # How many changes a tenant's next transaction takes: halved when one fails, so that a lead
    # that cannot be scored is soon alone, and doubled when one succeeds.
    _most: dict[str, int] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _order: list[str] = field(default_factory=list)
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        scores.ensure_partitions(self.database)

    def step(self) -> bool:
        """Score changed leads of the tenant whose turn it is; False when there was nothing to do.

        Raises DBAPIError when the database is gone; what was claimed then is still queued.
        """
        if not self._order or time.monotonic() > self._looked_at + _KEPT_S:
            self._look()
        while self._order:
            tenant_id = self._order.pop()
            self._served_at[tenant_id] = time.monotonic()
            if self._serve(tenant_id):
                return True
        return False

    def _look(self) -> None:
        """Whose turn it is: the tenant served longest ago comes first, of those never served the
        one with the highest priority."""
        waiting = queue.waiting(self.database)
        self._looked_at = time.monotonic()
        never = float("-inf")
        waiting.sort(
            key=lambda w: (self._served_at.get(w.tenant_id, never), -w.priority, w.oldest_at)
        )
        self._order = [w.tenant_id for w in reversed(waiting)]

    def _serve(self, tenant_id: str) -> bool:
        """One transaction for the tenant; whether it did anything."""
        most = self._most.get(tenant_id, _MOST)
        claimed = None
        try:
            with self.database.tenant(tenant_id) as connection:
                claimed = queue.claim(connection, tenant_id, most)
                if claimed is None:
                    return False
                self.tally.transactions += 1
                leads = score_claimed(connection, tenant_id, claimed, self._champions, self.run_id)
            self.tally.leads += leads
            self._most[tenant_id] = min(2 * most, _MOST)
            self._failures.pop(tenant_id, None)
        except TenantNotFoundError:
            return False
        except Exception as error:
            gone = isinstance(error, DBAPIError) and error.connection_invalidated
            if gone or claimed is None:
                raise
            self._note_failure(tenant_id, claimed, error)
        return True

    def _note_failure(self, tenant_id: str, claimed: queue.Claim, error: Exception) -> None:
        """Leave the claim to the next attempt: with fewer leads, or later."""
        self.tally.failed += 1
        alone = len(claimed.change_ids) == 1
        self._most[tenant_id] = max(len(claimed.change_ids) // 2, 1)
        failures = self._failures.get(tenant_id, 0) + alone
        self._failures[tenant_id] = failures % _MOST_FAILURES
        with suppress(TenantNotFoundError), self.database.tenant(tenant_id) as connection:
            if isinstance(error, ChampionError) or failures == _MOST_FAILURES:
                queue.fail_tenant(connection, tenant_id, in_one_line(error))
            elif alone:
                queue.fail_lead(connection, tenant_id, claimed, in_one_line(error))
