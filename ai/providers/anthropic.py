"""Anthropic."""

from functools import cached_property
from typing import Any

import anthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from ai.configuration import Candidate
from ai.providers.connections import clients

_URL = "https://api.anthropic.com"


class _Anthropic(ChatAnthropic):
    """With our connections, which the class itself takes no option for, and without the spans of
    the SDK: they would go to whatever tracer is registered, and our trace ids to Anthropic."""

    @cached_property
    def _client(self) -> anthropic.Client:
        return anthropic.Client(**self._settings(), http_client=self._connections()[0])

    @cached_property
    def _async_client(self) -> anthropic.AsyncClient:
        return anthropic.AsyncClient(**self._settings(), http_client=self._connections()[1])

    def _settings(self) -> dict[str, Any]:
        return {**self._client_params, "open_telemetry": False}

    def _connections(self) -> tuple[Any, Any]:
        return clients(self.anthropic_api_url or _URL, self.default_request_timeout or 0)


def build(
    candidate: Candidate, key: str | None, *, output_tokens: int, seconds: float
) -> BaseChatModel:
    """A chat model that makes one request per call; see ai.providers.building."""
    return _Anthropic(
        model_name=candidate.model,
        api_key=SecretStr(key or ""),
        base_url=candidate.base_url or _URL,
        max_tokens_to_sample=output_tokens,
        timeout=seconds,
        max_retries=0,
        stream_usage=True,
        stop=None,
    )
