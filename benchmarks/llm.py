"""The one path to language models beside the plain ways: what a call takes, 1,000 calls at once,
what the cache saves, and what must not happen with tenants and budgets.

A fake provider (`galena fake-provider`) in a process of its own answers over HTTP; the database is
a real PostgreSQL. The cache's workload is that of docs/decisions/answer-cache.md.
"""

from collections.abc import Mapping
from decimal import Decimal

from benchmarks import llm_cache, llm_limits, llm_overhead
from benchmarks.llm_installation import add_tenant, installed
from benchmarks.llm_ways import TENANTS
from benchmarks.reporting import arguments, report

# A budget that is looked at with each call and never fills.
_ENOUGH = Decimal(1_000_000)


def main() -> None:
    given = arguments(__doc__)
    with installed() as place:
        for tenant_id in TENANTS:
            add_tenant(place, tenant_id, _ENOUGH)
        figures = {
            **llm_overhead.measure(place, given.quick),
            **llm_cache.measure(place, given.quick),
            **llm_limits.measure(place, given.quick),
        }
    report("Aims", ("", "measured", "aim"), _aims(figures), figures, given)


def _aims(found: Mapping[str, float]) -> list[tuple[str, str, str]]:
    return [
        ("hits on the workload", f"{found['hit_rate']:.1%}", "60 %"),
        ("wrong hits", f"{found['wrong_hits']:.0f}", "0"),
        ("answers that crossed tenants", f"{found['crossed_answers']:.0f}", "0"),
        ("spent of a budget", f"{found['budget_spent_share']:.1%}", "at most 100 %"),
        ("95 % of calls, provider in 1.5 s", f"{found['p95_s']:.2f} s", "2 s"),
        ("99 %", f"{found['p99_s']:.2f} s", "5 s"),
        ("peak memory of 1,000 calls at once", f"{found['peak_mb']:,.0f} MB", "2,000 MB"),
    ]


if __name__ == "__main__":
    main()
