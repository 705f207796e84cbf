"""How long to wait before the next request to the same endpoint."""

import random

FIRST_SECONDS = 0.25
LONGEST_SECONDS = 8.0


def seconds_before(attempt: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to wait before the attempt of this number, 2 for the first repetition.

    Exponential backoff with full jitter (M. Brooker, Exponential Backoff And Jitter, AWS
    Architecture Blog, 2015): a moment by chance between now and a bound that doubles, so that
    those who failed together do not come back together. retry_after: what the provider asked for;
    it is waited for in full, and the jitter comes on top.
    """
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (attempt - 2))
    return (retry_after or 0.0) + rng.uniform(0.0, bound)
