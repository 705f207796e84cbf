"""What Prometheus is told of language models.

No label is a tenant: thousands of them, times features, models and outcomes, are more series than
a server holds. What a tenant used and spent stands in the ledger.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ai.calls import NOTHING, Usage
from ai.stores import Entry

if TYPE_CHECKING:
    from ai.candidates import Condition

# From a hit in the cache to the longest budget of time.
_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_ATTEMPTS = frozenset(("answered", "failed", "unclear"))
_BREAKER = {"closed": 0, "half-open": 1, "open": 2}

calls = Counter("galena_llm_calls", "Calls, by how they ended.", ("feature", "outcome"))
call_seconds = Histogram(
    "galena_llm_call_seconds", "Seconds a call took.", ("feature",), buckets=_SECONDS
)
attempts = Counter(
    "galena_llm_attempts",
    "Requests to providers: answered, failed (not billed), unclear (may be billed).",
    ("feature", "provider", "model", "outcome"),
)
attempt_seconds = Histogram(
    "galena_llm_attempt_seconds",
    "Seconds a request to a provider took.",
    ("provider", "model"),
    buckets=_SECONDS,
)
tokens = Counter(
    "galena_llm_tokens",
    "Tokens; those of the input that the provider had cached are counted as cached alone.",
    ("feature", "provider", "model", "kind"),
)
cost = Counter(
    "galena_llm_cost_usd", "US dollars, where the price is known.", ("feature", "provider", "model")
)
unpriced = Counter(
    "galena_llm_unpriced", "Requests whose cost is unknown.", ("feature", "provider", "model")
)
hits = Counter("galena_llm_cache_hits", "Answers from the cache.", ("feature", "tier"))
saved_tokens = Counter(
    "galena_llm_saved_tokens", "Tokens that hits would have taken.", ("feature",)
)
findings = Counter("galena_llm_guard_findings", "What guards found.", ("feature", "guard"))


def note(feature: str, entry: Entry, tier: str) -> None:
    """Count a line of the ledger. tier: of the cache, for a hit."""
    if entry.outcome in _ATTEMPTS:
        place = feature, entry.provider, entry.model
        attempts.labels(*place, entry.outcome).inc()
        attempt_seconds.labels(entry.provider, entry.model).observe(entry.seconds)
        if entry.usage != NOTHING:
            _count(place, entry.usage)
        if entry.cost is None:
            unpriced.labels(*place).inc()
        elif entry.cost:
            cost.labels(*place).inc(float(entry.cost))
    elif entry.outcome == "hit":
        hits.labels(feature, tier).inc()
        saved_tokens.labels(feature).inc(entry.saved.input_tokens + entry.saved.output_tokens)


def _count(place: tuple[str, str, str], usage: Usage) -> None:
    tokens.labels(*place, "input").inc(max(0, usage.input_tokens - usage.cached_tokens))
    tokens.labels(*place, "cached").inc(usage.cached_tokens)
    tokens.labels(*place, "output").inc(usage.output_tokens)


def watch(report: "Callable[[], Mapping[str, Condition]]") -> None:
    """Have the state of candidates read from here whenever Prometheus asks."""
    _conditions.report = report


class _Conditions(Collector):
    """Candidates as they are when they are asked for: nothing has to tell of a change."""

    def __init__(self) -> None:
        self.report: Callable[[], Mapping[str, Condition]] = dict

    def collect(self) -> Iterable[GaugeMetricFamily]:
        breaker = GaugeMetricFamily(
            "galena_llm_breaker_state", "0 closed, 1 half-open, 2 open.", labels=["candidate"]
        )
        in_flight = GaugeMetricFamily(
            "galena_llm_in_flight", "Requests under way.", labels=["candidate"]
        )
        for name, condition in self.report().items():
            breaker.add_metric([name], _BREAKER[condition.breaker])
            in_flight.add_metric([name], condition.in_flight)
        return breaker, in_flight


_conditions = _Conditions()
REGISTRY.register(_conditions)
