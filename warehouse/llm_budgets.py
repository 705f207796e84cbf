"""Budgets for language models, and what calls under way set aside of them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from ai.stores import NotReserved, Reserved
from warehouse import audit
from warehouse.errors import GalenaError

Period = Literal["day", "month"]
AtLimit = Literal["refuse", "cheaper"]


@dataclass(frozen=True)
class Budget:
    """What a tenant may spend in each period; a limit that is None is none.

    feature: whose calls count; "" for all. usd: in US dollars. tokens: of input and output.
    period: a day or a month in UTC. at_limit: refuse the call, or try a cheaper model.
    """

    feature: str
    usd: Decimal | None
    tokens: int | None
    period: Period
    at_limit: AtLimit


@dataclass(frozen=True)
class Spent:
    """A budget and how it stands. usd, tokens: taken in the period that began at starts_at, with
    what is set aside for calls under way."""

    budget: Budget
    starts_at: datetime
    usd: Decimal
    tokens: int


def put(
    connection: Connection, tenant_id: str, budget: Budget, *, now: datetime, actor: str
) -> None:
    """Set the tenant's budget for the feature. What the present period has taken counts: of a new
    budget, or one of another period, by the ledger and what is set aside.

    Raises GalenaError: it has no limit.
    """
    if budget.usd is None and budget.tokens is None:
        raise GalenaError("A budget limits something: give --usd, --tokens or both.")
    asked = {**vars(budget), "tenant_id": tenant_id, "now": now}
    # Calls that are setting something aside come before, or do not know of it.
    connection.execute(_LOCK_ALL, asked)
    if not connection.execute(_CHANGE, asked).rowcount:
        connection.execute(_PUT, {**asked, "budget_id": uuid.uuid4().hex})
    usd = None if budget.usd is None else str(budget.usd)
    audit.note(connection, tenant_id, "llm.budget", {**vars(budget), "usd": usd}, actor=actor)


def remove(connection: Connection, tenant_id: str, feature: str, *, actor: str) -> bool:
    """Let the feature spend what it takes; False when it had no budget."""
    asked = {"tenant_id": tenant_id, "feature": feature}
    gone = connection.execute(_DELETE, asked).rowcount
    if gone:
        details = {"feature": feature}
        audit.note(connection, tenant_id, "llm.budget.remove", details, actor=actor)
    return bool(gone)


def find_all(connection: Connection, tenant_id: str, *, now: datetime) -> list[Spent]:
    """The tenant's budgets and how they stand, that of all features first."""
    rows = connection.execute(_FIND, {"tenant_id": tenant_id, "now": now})
    return [
        Spent(
            Budget(row.feature, row.usd, row.tokens, row.period, row.at_limit),
            row.starts_at,
            row.taken_usd,
            row.taken_tokens,
        )
        for row in rows
    ]


def reserve(
    connection: Connection,
    tenant_id: str,
    feature: str,
    *,
    tokens: int,
    usd: Decimal | None,
    now: datetime,
    lapses_at: datetime,
) -> Reserved | NotReserved:
    """Set the most that a call can take aside in each of its budgets, or in none.

    usd: None when the price is unknown. The budgets' rows stay locked until the transaction ends.
    """
    asked = {"tenant_id": tenant_id, "feature": feature, "now": now}
    budgets = connection.execute(_LOCK, asked).all()
    if not budgets:
        return Reserved("")
    taken = {"usd": usd or Decimal(0), "tokens": tokens}
    against = [
        refusal
        for row in budgets
        if (refusal := _refusal(connection, tenant_id, row, usd, tokens, now))
    ]
    if against:
        return min(against, key=lambda one: (_WORST.index(one.why), one.at_limit == "cheaper"))
    reservation_id = uuid.uuid4().hex
    # Budgets of which a new period has begun elsewhere, by a clock that is ahead of this one.
    reserved_at = max(now, *(row.starts_at for row in budgets))
    connection.execute(
        _RESERVE,
        {
            **asked,
            **taken,
            "reservation_id": reservation_id,
            "budget_ids": [row.budget_id for row in budgets],
            "reserved_at": reserved_at,
            "lapses_at": lapses_at,
        },
    )
    return Reserved(reservation_id)


def settle(
    connection: Connection, tenant_id: str, reservation_id: str, usd: Decimal | None, tokens: int
) -> None:
    """Count what a call took in place of what was set aside for it; usd: None when unknown, which
    leaves what was set aside. Settling what is settled does nothing."""
    took = {"usd": usd, "tokens": tokens}
    connection.execute(_SETTLE, {"tenant_id": tenant_id, "reservation_id": reservation_id, **took})


_WORST = ("full", "unknown price", "waiting")


def _refusal(
    connection: Connection,
    tenant_id: str,
    row: Row[Any],
    usd: Decimal | None,
    tokens: int,
    now: datetime,
) -> NotReserved | None:
    """Why the call does not fit into the budget of this row; None when it does."""
    name = f"The budget of tenant {tenant_id!r} for {row.feature or 'all features'}"
    command = f"galena llm budget {tenant_id}" + (f" --feature {row.feature}" * bool(row.feature))
    if usd is None and row.usd is not None:
        message = (
            f"{name} limits US dollars, and what this model costs is not known: use a model whose"
            f" price is known, or limit tokens alone with `{command} --tokens`."
        )
        return NotReserved("unknown price", row.at_limit, message)
    usd = usd or Decimal(0)
    if _fits(row, usd, tokens):
        return None
    held = connection.execute(_HELD, {"tenant_id": tenant_id, "now": now, **row._mapping}).one()
    waits = _fits(row, usd - held.usd, tokens - held.tokens)
    message = (
        f"{name}, {_amount(row, row.usd, row.tokens)} a {row.period}, leaves no room for this call:"
        f" {_amount(row, row.taken_usd - held.usd, row.taken_tokens - held.tokens)} spent since"
        f" {row.starts_at:%Y-%m-%d} UTC, {_amount(row, held.usd, held.tokens)} set aside for calls"
        f" under way; raise it with `{command}`, or wait for the next {row.period}."
    )
    return NotReserved("waiting" if waits else "full", row.at_limit, message)


def _fits(row: Row[Any], usd: Decimal, tokens: int) -> bool:
    return (row.usd is None or row.taken_usd + usd <= row.usd) and (
        row.tokens is None or row.taken_tokens + tokens <= row.tokens
    )


def _amount(row: Row[Any], usd: Decimal, tokens: int) -> str:
    """In what the budget limits."""
    parts = []
    if row.usd is not None:
        parts.append(f"${usd:,.4f}")
    if row.tokens is not None:
        parts.append(f"{tokens:,} tokens")
    return " and ".join(parts)


_STARTS = "date_trunc(period, :now, 'UTC')"
_STANDS = (
    "budget_id, feature, usd, tokens, period, at_limit,"
    f" greatest(starts_at, {_STARTS}) AS starts_at,"
    f" CASE WHEN starts_at < {_STARTS} THEN 0 ELSE taken_usd END AS taken_usd,"
    f" CASE WHEN starts_at < {_STARTS} THEN 0 ELSE taken_tokens END AS taken_tokens"
)
_ALL = f"SELECT {_STANDS} FROM ml.llm_budgets WHERE tenant_id = :tenant_id"
_FIND = text(f"{_ALL} ORDER BY feature")
# Always in this order, so that no two transactions wait for each other.
_LOCK = text(f"{_ALL} AND feature IN ('', :feature) ORDER BY feature FOR UPDATE")
_LOCK_ALL = text(f"{_ALL} ORDER BY feature FOR UPDATE")
_RESERVE = text(
    "WITH taken AS ("
    " UPDATE ml.llm_budgets SET"
    " taken_usd = :usd + CASE WHEN starts_at < {starts} THEN 0 ELSE taken_usd END,"
    " taken_tokens = :tokens + CASE WHEN starts_at < {starts} THEN 0 ELSE taken_tokens END,"
    " starts_at = greatest(starts_at, {starts})"
    " WHERE tenant_id = :tenant_id AND budget_id = ANY(:budget_ids)"
    ") INSERT INTO ml.llm_reservations (tenant_id, reservation_id, budget_ids, feature, usd,"
    " tokens, reserved_at, lapses_at) VALUES (:tenant_id, :reservation_id, :budget_ids, :feature,"
    " :usd, :tokens, :reserved_at, :lapses_at)".replace("{starts}", _STARTS)
)
_HELD = text(
    "SELECT coalesce(sum(usd), 0) AS usd, coalesce(sum(tokens), 0)::bigint AS tokens"
    " FROM ml.llm_reservations WHERE tenant_id = :tenant_id AND :budget_id = ANY(budget_ids)"
    " AND lapses_at > :now AND reserved_at >= :starts_at"
)
# What was set aside in a former period was taken from that.
_SETTLE = text(
    "WITH held AS ("
    " DELETE FROM ml.llm_reservations WHERE tenant_id = :tenant_id"
    " AND reservation_id = :reservation_id RETURNING budget_ids, usd, tokens, reserved_at"
    "), locked AS ("
    " SELECT b.budget_id, coalesce(CAST(:usd AS numeric) - held.usd, 0) AS usd,"
    " CAST(:tokens AS bigint) - held.tokens AS tokens"
    " FROM ml.llm_budgets b JOIN held ON b.budget_id = ANY(held.budget_ids)"
    " AND b.starts_at <= held.reserved_at WHERE b.tenant_id = :tenant_id"
    " ORDER BY b.feature FOR UPDATE OF b"
    ") UPDATE ml.llm_budgets b SET taken_usd = b.taken_usd + locked.usd,"
    " taken_tokens = b.taken_tokens + locked.tokens FROM locked"
    " WHERE b.tenant_id = :tenant_id AND b.budget_id = locked.budget_id"
)
_CHANGE = text(
    "UPDATE ml.llm_budgets SET usd = :usd, tokens = :tokens, at_limit = :at_limit"
    " WHERE tenant_id = :tenant_id AND feature = :feature AND period = :period"
)
_PUT = text(
    "WITH took AS ("
    " SELECT usd, input_tokens::bigint + output_tokens AS tokens, at, feature FROM ml.llm_ledger"
    " WHERE tenant_id = :tenant_id"
    " UNION ALL"
    " SELECT usd, tokens, reserved_at, feature FROM ml.llm_reservations"
    " WHERE tenant_id = :tenant_id"
    ") INSERT INTO ml.llm_budgets (tenant_id, budget_id, feature, period, usd, tokens, at_limit,"
    " starts_at, taken_usd, taken_tokens)"
    " SELECT :tenant_id, :budget_id, :feature, :period, :usd, :tokens, :at_limit, {starts},"
    " coalesce(sum(usd), 0), coalesce(sum(tokens), 0) FROM took"
    " WHERE at >= {starts} AND :feature IN ('', feature)"
    " ON CONFLICT (tenant_id, feature) DO UPDATE SET budget_id = EXCLUDED.budget_id,"
    " period = EXCLUDED.period, usd = EXCLUDED.usd, tokens = EXCLUDED.tokens,"
    " at_limit = EXCLUDED.at_limit, starts_at = EXCLUDED.starts_at,"
    " taken_usd = EXCLUDED.taken_usd, taken_tokens = EXCLUDED.taken_tokens".replace(
        "{starts}", "date_trunc(:period, :now, 'UTC')"
    )
)
_DELETE = text("DELETE FROM ml.llm_budgets WHERE tenant_id = :tenant_id AND feature = :feature")
