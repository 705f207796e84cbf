"""When an endpoint is asked and when not; and when a model's answers are no longer preferred."""

import math
import random

from ai import breaker, quality, retry
from ai.breaker import Breaker, Outcome, Ticket
from ai.quality import Quality


def _call(found: Breaker, now: float, outcome: Outcome | None) -> None:
    assert found.wait(now) == 0
    found.note(now, found.enter(now), outcome)


def _opened(outcome: Outcome = "failed", now: float = 0.0) -> Breaker:
    found = Breaker()
    for _ in range(breaker.FEWEST):
        _call(found, now, outcome)
    assert found.state(now) == "open"
    return found


def test_it_opens_on_failures_and_lets_one_probe_through() -> None:
    found = _opened()
    assert found.wait(0.0) == found.wait(breaker.OPEN_SECONDS - 0.01) == math.inf
    later = breaker.OPEN_SECONDS
    assert found.state(later) == "half-open"
    probe = found.enter(later)
    assert probe.probe
    assert found.wait(later) == math.inf, "one probe, not two"
    found.note(later, probe, "good")
    assert found.state(later) == "closed"
    assert found.wait(later) == 0


def test_a_probe_that_fails_opens_it_again_and_one_that_was_cancelled_makes_way() -> None:
    found = _opened()
    later = breaker.OPEN_SECONDS
    found.note(later, found.enter(later), None)
    assert found.wait(later) == 0, "the next call is the probe"
    found.note(later, found.enter(later), "failed")
    assert found.wait(later + breaker.OPEN_SECONDS - 0.01) == math.inf
    assert found.wait(later + breaker.OPEN_SECONDS) == 0


def test_few_failures_or_a_small_share_of_them_do_not_open_it() -> None:
    found = Breaker()
    for _ in range(breaker.FEWEST - 1):
        _call(found, 0.0, "failed")
    assert found.state(0.0) == "closed"
    found = Breaker()
    for at in range(200):
        _call(found, at * 0.1, "failed" if at % 3 == 2 else "good")
    assert found.state(20.0) == "closed"


def test_it_opens_soon_after_hours_without_a_failure() -> None:
    found = Breaker()
    for at in range(10_000):
        _call(found, at * 0.1, "good")
    failures = 0
    while found.state(1_000.0) == "closed":
        _call(found, 1_000.0, "failed")
        failures += 1
    assert failures <= breaker.WINDOW


def test_failures_of_long_ago_do_not_count() -> None:
    found = Breaker()
    for at in range(20):
        _call(found, at * breaker.FORGOTTEN_SECONDS, "failed")
    assert found.state(20 * breaker.FORGOTTEN_SECONDS) == "closed"


def test_calls_from_before_it_opened_do_not_count_after_it_has_closed() -> None:
    found = Breaker()
    hanging = [found.enter(0.0) for _ in range(breaker.WINDOW)]
    for _ in range(breaker.FEWEST):
        _call(found, 0.0, "failed")
    later = breaker.OPEN_SECONDS
    found.note(later, found.enter(later), "good")
    for ticket in hanging:
        found.note(later + 1, ticket, "failed")
    assert found.state(later + 1) == "closed"


def test_one_that_is_strained_is_spared_by_those_who_have_another() -> None:
    found = _opened("strained")
    assert found.wait(1.0) == math.inf
    assert found.wait(1.0, alone=True) == 0
    assert _opened("failed").wait(1.0, alone=True) == math.inf, "one that is down, by all"


def test_a_rest_is_kept_and_has_an_end() -> None:
    found = Breaker()
    found.rest(0.0, 3.0)
    found.rest(0.0, 1.0)
    assert found.wait(1.0) == found.wait(1.0, alone=True) == 2.0
    assert found.wait(3.0) == 0
    found.rest(10.0, 86_400.0)
    assert found.wait(10.0) == breaker.LONGEST_REST_SECONDS


def test_a_ticket_counts_once_its_breaker_knows_it() -> None:
    found = _opened()
    found.note(0.0, Ticket(period=0, probe=True), "good")
    assert found.state(0.0) == "open"


def test_waits_double_are_jittered_and_keep_what_was_asked_for() -> None:
    rng = random.Random(1)
    for attempt, bound in ((2, 0.25), (3, 0.5), (4, 1.0), (12, 8.0)):
        waits = [retry.seconds_before(attempt, None, rng) for _ in range(500)]
        assert 0 <= min(waits) < 0.05 * bound
        assert 0.95 * bound < max(waits) <= bound
    assert all(7 <= retry.seconds_before(2, 7.0, rng) <= 7.25 for _ in range(100))


def _switched() -> Quality:
    found = Quality()
    changes = [found.note(0.0, ok=False) for _ in range(quality.WINDOW)]
    assert changes == [None] * (quality.WINDOW - 1) + ["switched"]
    return found


def test_a_model_whose_answers_fail_is_probed_and_comes_back() -> None:
    found = _switched()
    now = quality.PROBE_SECONDS
    assert not found.preferred(now - 0.1)
    for number in range(quality.GOOD_PROBES):
        assert found.preferred(now)
        assert not found.preferred(now), "one probe at a time"
        last = number == quality.GOOD_PROBES - 1
        assert found.note(now, ok=True) == ("restored" if last else None)
        now += quality.PROBE_SECONDS
    assert found.preferred(now)
    assert not found.switched


def test_answers_that_were_on_their_way_restore_nothing_and_a_bad_probe_begins_anew() -> None:
    found = _switched()
    assert [found.note(1.0, ok=True) for _ in range(50)] == [None] * 50
    now = quality.PROBE_SECONDS
    for ok in (True, True, False, True, True):
        assert found.preferred(now)
        assert found.note(now, ok=ok) is None
        now += quality.PROBE_SECONDS
    assert found.preferred(now)
    assert found.note(now, ok=True) == "restored"


def test_a_few_bad_answers_among_good_ones_change_nothing() -> None:
    found = Quality()
    assert {found.note(0.0, ok=at % 4 != 0) for at in range(400)} == {None}
