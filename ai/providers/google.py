"""Google's Gemini."""

from google.genai import Client
from google.genai.types import HttpOptions, HttpRetryOptions
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import SecretStr

from ai.configuration import Candidate
from ai.providers.connections import clients

_URL = "https://generativelanguage.googleapis.com"


def build(
    candidate: Candidate, key: str | None, *, output_tokens: int, seconds: float
) -> BaseChatModel:
    """A chat model that makes one request per call; see ai.providers.building.

    The client is replaced by one with our connections. The class's own would use aiohttp wherever
    that happens to be installed, which tries again by itself when a connection breaks.
    """
    url = candidate.base_url or _URL
    blocking, looping = clients(url, seconds)
    model = ChatGoogleGenerativeAI(
        model=candidate.model,
        api_key=SecretStr(key or ""),
        base_url=url,
        max_output_tokens=output_tokens,
        timeout=seconds,
        # Counted here are attempts, the first one too.
        max_retries=1,
        vertexai=False,
    )
    model.client = Client(
        api_key=key or "",
        vertexai=False,
        http_options=HttpOptions(
            base_url=url,
            retry_options=HttpRetryOptions(attempts=1),
            httpx_client=blocking,
            httpx_async_client=looping,
        ),
    )
    return model
