"""A candidate of the configuration as a chat model."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ai.configuration import Candidate

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def build(
    candidate: Candidate, environment: Mapping[str, str], *, output_tokens: int, seconds: float
) -> "BaseChatModel":
    """The candidate's chat model, of its provider's module, which is imported only now.

    Each call of it is one request, never tried again, and its streams say what they used.
    environment: where the key stands, under the candidate's key_variable. output_tokens: the most
    that an answer may have. seconds: that nothing may arrive before a request is given up; the
    time of a whole call is for the caller to limit.
    """
    module = import_module(f"ai.providers.{candidate.provider}")
    key = environment.get(candidate.key_variable) if candidate.key_variable else None
    built = module.build(candidate, key, output_tokens=output_tokens, seconds=seconds)
    return cast("BaseChatModel", built)
