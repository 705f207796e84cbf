"""OpenAI."""

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from ai.configuration import Candidate
from ai.providers.connections import clients

_URL = "https://api.openai.com/v1"


def build(
    candidate: Candidate, key: str | None, *, output_tokens: int, seconds: float
) -> BaseChatModel:
    """A chat model that makes one request per call; see ai.providers.building."""
    url = candidate.base_url or _URL
    blocking, looping = clients(url, seconds)
    return ChatOpenAI(
        model=candidate.model,
        api_key=SecretStr(key or ""),
        base_url=url,
        max_completion_tokens=output_tokens,
        timeout=seconds,
        max_retries=0,
        stream_usage=True,
        # The connection's own timeout holds already, and costs no timer for each chunk.
        stream_chunk_timeout=None,
        http_client=blocking,
        http_async_client=looping,
    )
