"""The ledger of language-model calls: what was asked for, what it took, what it cost; its sums."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text

from ai.calls import Call, Usage
from ai.stores import Entry, NotReserved, Reserved
from warehouse import llm_budgets
from warehouse.database import Database
from warehouse.schema import llm_ledger


class StoredLedger:
    """ai.stores.Ledger in ml.llm_ledger, with the budgets of ml.llm_budgets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(
        self, call: Call, *, tokens: int, cost: Decimal | None, now: datetime, until: datetime
    ) -> Reserved | NotReserved:
        with self._database.tenant(call.tenant_id) as connection:
            return llm_budgets.reserve(
                connection,
                call.tenant_id,
                call.feature,
                tokens=tokens,
                usd=cost,
                now=now,
                lapses_at=until,
            )

    def settle(self, call: Call, reservation_id: str, entry: Entry) -> None:
        with self._database.tenant(call.tenant_id) as connection:
            # Before the budgets' rows are locked, for others wait for those.
            record(connection, call.tenant_id, call, entry)
            if reservation_id:
                took = entry.usage.input_tokens + entry.usage.output_tokens
                llm_budgets.settle(connection, call.tenant_id, reservation_id, entry.cost, took)


def record(connection: Connection, tenant_id: str, call: Call, entry: Entry) -> None:
    """Write one line."""
    used, saved = entry.usage, entry.saved
    # As parameters: an INSERT made of values anew each time cost half a millisecond more.
    connection.execute(
        llm_ledger.insert(),
        {
            **asdict(call),
            "tenant_id": tenant_id,
            "at": entry.at,
            "candidate": entry.candidate,
            "provider": entry.provider,
            "model": entry.model,
            "outcome": entry.outcome,
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "cached_tokens": used.cached_tokens,
            "usd": entry.cost,
            "seconds": entry.seconds,
            "saved_input_tokens": saved.input_tokens,
            "saved_output_tokens": saved.output_tokens,
            "saved_cached_tokens": saved.cached_tokens,
            "saved_usd": entry.saved_cost,
            "guessed": entry.guessed,
            "error": entry.error,
        },
    )


@dataclass(frozen=True)
class Used:
    """What calls of one feature, model and prompt version took.

    answered, errors: requests that were, and that failed or broke off. hits: answers from the
    cache. refused: calls that a budget or a guard stopped, or that got the stated answer alone.
    usage, usd: of requests; unpriced: how many of these may cost something and have no known cost.
    saved, saved_usd: what hits would have taken. seconds: mean latency of what was answered; None
    when nothing was.
    """

    feature: str
    provider: str
    model: str
    prompt: str
    prompt_version: str
    answered: int
    errors: int
    hits: int
    refused: int
    usage: Usage
    usd: Decimal
    unpriced: int
    saved: Usage
    saved_usd: Decimal
    seconds: float | None


def usage(
    connection: Connection, tenant_id: str, *, since: datetime, until: datetime
) -> Sequence[Used]:
    """What the tenant used in [since, until), by feature, provider, model and prompt version."""
    rows = connection.execute(_USAGE, {"tenant_id": tenant_id, "since": since, "until": until})
    return [
        Used(
            **{name: row._mapping[name] for name in _COLUMNS},
            usage=Usage(row.input_tokens, row.output_tokens, row.cached_tokens),
            saved=Usage(row.saved_input, row.saved_output, row.saved_cached),
        )
        for row in rows
    ]


_COLUMNS = [name for name in Used.__dataclass_fields__ if name not in ("usage", "saved")]
_GROUPS = "feature, provider, model, prompt, prompt_version"
_USAGE = text(
    f"SELECT {_GROUPS},"
    " count(*) FILTER (WHERE outcome = 'answered') AS answered,"
    " count(*) FILTER (WHERE outcome IN ('failed', 'unclear')) AS errors,"
    " count(*) FILTER (WHERE outcome = 'hit') AS hits,"
    " count(*) FILTER (WHERE outcome IN ('refused', 'blocked', 'fallback')) AS refused,"
    " sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,"
    " sum(cached_tokens)::bigint AS cached_tokens, coalesce(sum(usd), 0) AS usd,"
    " count(*) FILTER (WHERE outcome IN ('answered', 'unclear') AND usd IS NULL) AS unpriced,"
    " sum(saved_input_tokens)::bigint AS saved_input,"
    " sum(saved_output_tokens)::bigint AS saved_output,"
    " sum(saved_cached_tokens)::bigint AS saved_cached, coalesce(sum(saved_usd), 0) AS saved_usd,"
    " avg(seconds) FILTER (WHERE outcome = 'answered') AS seconds"
    " FROM ml.llm_ledger WHERE tenant_id = :tenant_id AND at >= :since AND at < :until"
    f" GROUP BY {_GROUPS} ORDER BY {_GROUPS}"
)
