"""Answers that serve again: what they depend on, where they are looked for, and one flight each."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ai import embedding, facts
from ai.calls import Answer, Call
from ai.configuration import Configuration
from ai.errors import LanguageModelError
from ai.stores import Similar

# Long enough for a burst of the same question; a tenant that was erased is gone from every process
# this soon, and before that each hit is refused by the ledger.
_MEMORY = timedelta(seconds=60)
_MOST_IN_MEMORY = 2_000
# Above it a text is hardly a question, and facts take longer to compare than they save.
_LONGEST_FREE_TEXT = 1_000


@dataclass(frozen=True)
class Key:
    """exact: of everything an answer depends on. group: of everything but the free text."""

    exact: str
    group: str


def key(
    call: Call, configuration: Configuration, sent: Sequence[object], free: str, rest: str
) -> Key:
    """The digests of what the answer to a call depends on.

    sent: role and text of each message as a provider is sent it. free, rest: the free text and what
    else the messages hold; "" when no other wording may serve.

    Beside the texts: tenant, permission scope, feature, prompt, prompt's version, the classes of
    the models that may answer, the longest answer asked for, and the version of the data.
    """
    feature = configuration.feature(call.feature)
    candidates = [configuration.candidates[name] for name in feature.candidates]
    models = sorted({candidate.model_class or candidate.model for candidate in candidates})
    common = [
        call.tenant_id,
        call.scope,
        call.feature,
        call.prompt,
        call.prompt_version,
        models,
        feature.output_tokens,
        call.data_version,
    ]
    return Key(
        exact=_digest([*common, sent]), group=_digest([*common, "but", rest]) if free else ""
    )


def _digest(parts: Sequence[object]) -> str:
    # JSON keeps parts apart: ("ab", "c") and ("a", "bc") are two keys.
    canonical = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Memory:
    """The answers last given in this process, for a minute. Keys hold the tenant."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[datetime, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: str, now: datetime) -> Answer | None:
        with self._lock:
            until, answer = self._kept.get(key, (now, None))
            return answer if until > now else None

    def keep(self, key: str, answer: Answer, *, now: datetime, expires_at: datetime) -> None:
        with self._lock:
            self._kept[key] = (min(now + _MEMORY, expires_at), answer)
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_IN_MEMORY:
                self._kept.popitem(last=False)


class Flights:
    """Calls under way in this process, by key: who comes second waits for the first."""

    def __init__(self) -> None:
        self._under_way: dict[str, Future[Answer | None]] = {}
        self._lock = threading.Lock()

    def board(self, key: str) -> Future[Answer | None] | None:
        """None: the caller is the first, and has to land. Otherwise what the first lands with."""
        with self._lock:
            found = self._under_way.get(key)
            if found is None:
                begun: Future[Answer | None] = Future()
                # Running, so that no waiter can cancel it for all.
                begun.set_running_or_notify_cancel()
                self._under_way[key] = begun
            return found

    def land(self, key: str, landed: Answer | LanguageModelError | None) -> None:
        """Give those who wait the answer, or the error; None: neither, and one of them tries."""
        with self._lock:
            flight = self._under_way.pop(key)
        if isinstance(landed, LanguageModelError):
            flight.set_exception(landed)
        else:
            flight.set_result(landed)


def may_be_similar(free: str) -> bool:
    """Whether the free text is short enough to look for one in other words."""
    return 0 < len(free) <= _LONGEST_FREE_TEXT


def vector(free: str) -> bytes:
    """The embedding of a free text, as it is stored."""
    found: bytes = embedding.embed([free])[0].astype("<f2").tobytes()
    return found


def best(free: str, sought: bytes, stored: Sequence[Similar], similarity: float) -> Answer | None:
    """The answer to the question nearest in meaning that holds the same facts.

    sought: the vector of the free text. similarity: the least cosine, 0 to 1.
    """
    if not stored:
        return None
    vectors = np.stack([np.frombuffer(one.vector, "<f2") for one in stored]).astype(np.float32)
    cosines: NDArray[np.float32] = vectors @ np.frombuffer(sought, "<f2").astype(np.float32)
    for index in map(int, np.argsort(-cosines, kind="stable")):
        if cosines[index] < similarity:
            break
        if facts.agree(free, stored[index].text):
            return stored[index].answer
    return None
