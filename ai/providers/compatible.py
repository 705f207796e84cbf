"""Any server that speaks OpenAI's chat completions, such as vLLM, Ollama or llama.cpp."""

from langchain_core.language_models import BaseChatModel
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import SecretStr

from ai.configuration import Candidate
from ai.providers.connections import clients

# The client refuses to be made without a key; a server that asks for none ignores it.
_NO_KEY = "none"


def build(
    candidate: Candidate, key: str | None, *, output_tokens: int, seconds: float
) -> BaseChatModel:
    """A chat model that makes one request per call; see ai.providers.building.

    The base class says max_tokens, which all such servers know, and asks for structured output by
    tool call; ChatOpenAI would say max_completion_tokens, which older ones ignore.
    """
    url = candidate.base_url or ""
    blocking, looping = clients(url, seconds)
    return BaseChatOpenAI(
        model=candidate.model,
        api_key=SecretStr(key or _NO_KEY),
        base_url=url,
        max_tokens=output_tokens,
        timeout=seconds,
        max_retries=0,
        stream_usage=True,
        stream_chunk_timeout=None,
        use_responses_api=False,
        http_client=blocking,
        http_async_client=looping,
    )
