"""What has to be stored, declared; the warehouse does it. Methods block, so they are called from
threads; each is one transaction bound to the tenant that it names first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from ai.calls import NOTHING, Answer, Attempt, Call, Usage


@dataclass(frozen=True)
class Similar:
    """A stored answer that may serve a question put in other words.

    text: the question's free text. vector: its embedding, float16 bytes. answer: what was said.
    """

    text: str
    vector: bytes
    answer: Answer


@dataclass(frozen=True)
class Kept:
    """An answer that is stored, and until when it serves."""

    answer: Answer
    expires_at: datetime


class Answers(Protocol):
    """Answers kept, encrypted with the tenant's key; a key of one tenant means nothing to another.

    key, group: hex digests of whatever an answer depends on; of a group only the free text differs.
    """

    def find_or_claim(
        self, tenant_id: str, key: str, *, claim: str, now: datetime, claim_until: datetime
    ) -> Kept | Literal["claimed", "taken"]:
        """The answer that has not expired. Without one "claimed": the caller is to make it, and
        others are told "taken" until it is stored, released, or claim_until has passed. claim:
        names the caller's claim, and no other."""
        ...

    def similar(self, tenant_id: str, group: str, *, now: datetime) -> Sequence[Similar]:
        """The latest answers of the group that have not expired, at most 200."""
        ...

    def store(
        self,
        tenant_id: str,
        key: str,
        answer: Answer,
        *,
        now: datetime,
        expires_at: datetime,
        group: str = "",
        text: str = "",
        vector: bytes = b"",
    ) -> None:
        """Keep the answer in place of the claim. With a group it can be found by `similar`."""
        ...

    def release(self, tenant_id: str, key: str, claim: str) -> None:
        """Give the claim of this name up: no answer came of it. Nothing else is given up."""
        ...


@dataclass(frozen=True)
class Reserved:
    """reservation_id: names what is set aside until it is settled; "" when no budget applies."""

    reservation_id: str


@dataclass(frozen=True)
class NotReserved:
    """Why nothing was set aside.

    why: "full" when what is spent leaves no room; "waiting" when it would fit once others' calls
        under way have been settled below what they set aside; "unknown price" when money is
        limited and the price is None.
    at_limit: what the tenant wants then. message: a sentence with limit, spent and period.
    """

    why: Literal["full", "waiting", "unknown price"]
    at_limit: Literal["refuse", "cheaper"]
    message: str


Outcome = Literal["answered", "failed", "unclear", "hit", "refused", "blocked", "fallback"]


@dataclass(frozen=True)
class Entry:
    """A line of the ledger.

    outcome: that of an attempt, or hit (answered from the cache: saved holds what it would have
        taken), refused (a budget), blocked (a guard), fallback (the stated answer).
    cost: in US dollars, None when unknown. guessed: usage and cost are the bound that was set
        aside, for the provider did not say.
    """

    at: datetime
    candidate: str
    provider: str
    model: str
    outcome: Outcome
    usage: Usage
    cost: Decimal | None
    seconds: float
    saved: Usage = NOTHING
    saved_cost: Decimal | None = None
    guessed: bool = False
    error: str = ""


class Ledger(Protocol):
    """What was used and spent, and what may be."""

    def reserve(
        self, call: Call, *, tokens: int, cost: Decimal | None, now: datetime, until: datetime
    ) -> Reserved | NotReserved:
        """Set the most that an attempt can take aside in every budget that applies to the call.

        tokens: input and output together. cost: None when the price is unknown. until: after it a
        reservation that nobody settled counts as spent.
        """
        ...

    def settle(self, call: Call, reservation_id: str, entry: Entry) -> None:
        """Write the line, and count what it says as spent in place of what was set aside. A
        reservation_id of "" settles nothing: the line alone is written."""
        ...


class Names(Protocol):
    """Names that guards look for."""

    def of_customers(self, tenant_id: str) -> Sequence[str]:
        """Names of the tenant's own customers and leads, persons and companies; the same list as
        long as nothing is known to have changed, for what is built of it is kept with it."""
        ...

    def of_other_tenants(self, tenant_id: str) -> Sequence[str]:
        """Ids and names of the other tenants: what no answer to this one may hold."""
        ...


class Alerts(Protocol):
    def raise_alert(self, tenant_id: str, kind: str, subject: str, message: str) -> None:
        """Open an alert, or update the one that is open for this kind and subject."""
        ...

    def resolve(self, tenant_id: str, kind: str, subject: str) -> None:
        """Close the alert that is open for this kind and subject: it is well again."""
        ...


class Meter(Protocol):
    """Asked before each attempt and told after it, on behalf of one call."""

    async def admit(self, candidate: str, provider: str, model: str, most: Usage) -> str:
        """Set aside the most that the attempt can take; return what to settle it by.

        Raises BudgetExceededError: no room; `cheaper` of it tells whether to try a cheaper
        candidate."""
        ...

    async def settle(self, reservation_id: str, attempt: Attempt) -> None:
        """Count what the attempt took."""
        ...
