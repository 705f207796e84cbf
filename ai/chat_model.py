"""The path as a LangChain chat model of one tenant: what LangGraph's agents are given."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict

from ai import background, trimming
from ai.calls import Call
from ai.cleaning import Cleaner
from ai.gateway import Gateway
from ai.making import Sent
from ai.prompt import FENCED, Source, fenced, plain_id, version_of
from ai.shaping import each_text


class TenantChatModel(BaseChatModel):
    """A chat model whose every call goes the one path, for one tenant and feature.

    A system message is the developer's and trusted, a human's message is the words of the person
    who asks, and what tools return is data that others wrote: sentences in it that look like
    instructions are withheld. Messages are texts; other content is refused with a ValueError.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # LangChain's own cache knows no tenants.
    cache: bool | None = False

    gateway: Gateway
    call: Call

    @property
    def _llm_type(self) -> str:
        return "galena"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools that it may call."""
        return self.bind(tools=list(tools), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return background.run(self._agenerate(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        tools: Sequence[Any] = (),
        **kwargs: Any,
    ) -> ChatResult:
        unknown = [*(["stop"] if stop else []), *([] if tools else kwargs)]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: options of a single call are not supported; the feature's"
                " configuration has those that are."
            )
        system = [one.text for one in messages if isinstance(one, SystemMessage)]
        call = replace(self.call, prompt_version=version_of("\n".join(system).encode()))
        cleaner = await self.gateway.cleaner(call)
        kept = trimming.latest(messages, self.gateway.room(call))
        cleaned = await self.gateway.in_thread(_cleaned_all, kept, cleaner)
        options = {"tools": list(tools), **kwargs} if tools else {}
        message = await self.gateway.converse(call, Sent(cleaned, cleaner), options)
        return ChatResult(generations=[ChatGeneration(message=message)])


def _cleaned_all(messages: Sequence[BaseMessage], cleaner: Cleaner) -> list[BaseMessage]:
    cleaned = [_cleaned(message, cleaner) for message in messages]
    if not any(isinstance(message, ToolMessage) for message in cleaned):
        return cleaned
    system = cleaned.pop(0).text if isinstance(cleaned[0], SystemMessage) else ""
    return [SystemMessage((system + FENCED).strip()), *cleaned]


def _cleaned(message: BaseMessage, cleaner: Cleaner) -> BaseMessage:
    text = _text(message)
    match message:
        case SystemMessage():
            return SystemMessage(cleaner("trusted", text))
        case HumanMessage():
            return HumanMessage(cleaner("asked", text))
        case AIMessage():
            redact = partial(cleaner, "trusted")
            calls = [{**one, "args": each_text(one["args"], redact)} for one in message.tool_calls]
            return AIMessage(redact(text), tool_calls=calls)
        case ToolMessage():
            name = message.name or ""
            data = fenced(Source(name if plain_id(name) else "tool", text), cleaner)
            return ToolMessage(data, tool_call_id=message.tool_call_id, name=message.name)
        case _:
            raise ValueError(
                f"A {message.type} message cannot be sent; use system, human, ai, tool."
            )


def _text(message: BaseMessage) -> str:
    blocks = message.content if isinstance(message.content, list) else []
    for block in blocks:
        if isinstance(block, dict) and block.get("type") not in ("text", "tool_use"):
            raise ValueError(
                f"Content of the type {block.get('type')!r} is not supported; use text."
            )
    return message.text
