"""A call to a language model: who asks for what, each attempt at an answer, and the answer."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Call:
    """Who asks for what.

    tenant_id: whose data is in it. feature: what it is for, such as insights: budgets, routes and
        the ledger go by it. prompt: its name, "" in a free conversation. prompt_version: its
        content hash, which the gateway fills in. scope: what the asker may see, when tenants
        divide that; answers are shared within one scope only. data_version: of the data that the
        answer rests on.
    """

    tenant_id: str
    feature: str
    prompt: str = ""
    prompt_version: str = ""
    scope: str = ""
    data_version: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens: input in all, output, and how many of the input the provider had cached."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


NOTHING = Usage()


@dataclass(frozen=True)
class Attempt:
    """One request to a provider, as it ended.

    candidate: its name in the configuration. provider, model: such as openai, gpt-5-mini.
    outcome: answered; failed (the provider said no, or nothing reached it: not billed); unclear
        (it broke off or ran out of time, and may be billed).
    usage: None when the provider did not say. seconds: until it ended. error: in one line, without
        contents.
    """

    candidate: str
    provider: str
    model: str
    outcome: Literal["answered", "failed", "unclear"]
    usage: Usage | None
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What is stored and given out.

    text: the answer. model, provider: that gave it. finish_reason: stop or length, as the provider
        said. usage: what it cost when it was made. offline: made by the extractive model that no
        provider stands behind. candidate: the name of the model in the configuration. fallback:
        it is the feature's stated answer, and no model's.
    """

    text: str
    provider: str
    model: str
    finish_reason: str
    usage: Usage
    offline: bool = False
    candidate: str = ""
    fallback: bool = False
