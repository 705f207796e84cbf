"""A chat model that stands for several: LangChain and LangGraph take it for one."""

import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.outputs.chat_generation import ChatGeneration
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field

from ai import background, sizes
from ai.asking import Pieces
from ai.candidates import Pool
from ai.configuration import OFFLINE, Feature
from ai.errors import NoAnswerError
from ai.routing import Route
from ai.stores import Meter

# What is said to a candidate when tools are bound to it, and not with each request.
_OF_TOOLS = ("tool_choice", "parallel_tool_calls", "strict")


class RoutedChatModel(BaseChatModel):
    """One call's model: its feature's candidates, tried as docs/decisions/routing.md says.

    tenant_id: whose call it is. candidates: those of the process. feature_name: of `feature` in
    the configuration. meter: of this call. rng: of the jitter.

    Each answer's response_metadata["galena"] says candidate, provider, model, attempts (requests
    made for it), offline, fallback (it is the feature's stated answer, and no model's) and
    seconds; a stream's last chunk has it. Raises NoAnswerError, OutOfTimeError,
    BudgetExceededError; a stream also after some chunks, which are then no answer.

    `answer` and `pieces` ask past LangChain's runs, so that whoever traces or streams the caller
    sees nothing of what the provider is sent and says; for the rest they are ainvoke and astream.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # LangChain's cache knows no tenants: whatever a process sets up as one is not asked.
    cache: Any = False

    tenant_id: str
    candidates: Pool = Field(repr=False)
    feature: Feature = Field(repr=False)
    feature_name: str
    # A Protocol, which pydantic cannot check.
    meter: Any = Field(repr=False)
    rng: random.Random = Field(repr=False)

    @property
    def _llm_type(self) -> str:
        return "galena-routed"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """With these tools; each candidate is told of them in its provider's own format."""
        return self.bind(**_known({"tools": tools, "tool_choice": tool_choice, **kwargs}))

    async def answer(self, messages: Sequence[BaseMessage], **kwargs: Any) -> AIMessage:
        """The answer. kwargs: as bind_tools and LangChain's ainvoke take them."""
        result = await self._agenerate(list(messages), **_known(kwargs))
        return cast("AIMessage", result.generations[0].message)

    async def pieces(
        self, messages: Sequence[BaseMessage], **kwargs: Any
    ) -> AsyncGenerator[AIMessageChunk, None]:
        """The answer in pieces, which add up to it. Once closed, what it took has been settled."""
        async with aclosing(self._astream(list(messages), **_known(kwargs))) as chunks:
            async for chunk in chunks:
                yield cast("AIMessageChunk", chunk.message)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        async def ask(model: BaseChatModel) -> Pieces:
            bound, options = _bound(model, kwargs)
            result = await bound._agenerate(messages, stop=stop, **options)
            yield _telling(result.generations[0], result.llm_output)

        route = self._route(messages, ask, kwargs)
        try:
            async with aclosing(route.pieces()) as pieces:
                found = await anext(pieces)
                async for _end in pieces:
                    pass
        except NoAnswerError as error:
            found = ChatGeneration(message=AIMessage(self._stated(route, error)))
        told = found.message.response_metadata | self._told(route)
        message = found.message.model_copy(update={"response_metadata": told})
        return ChatResult(
            generations=[ChatGeneration(message=message, generation_info=found.generation_info)]
        )

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        async def ask(model: BaseChatModel) -> Pieces:
            bound, options = _bound(model, kwargs)
            given = cast("Pieces", bound._astream(messages, stop=stop, **options))
            async with aclosing(given):
                async for chunk in given:
                    yield _telling(chunk)

        route = self._route(messages, ask, kwargs)
        try:
            async with aclosing(route.pieces()) as pieces:
                async for piece in pieces:
                    yield cast("ChatGenerationChunk", piece)
        except NoAnswerError as error:
            yield ChatGenerationChunk(message=AIMessageChunk(content=self._stated(route, error)))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="", response_metadata=self._told(route), chunk_position="last"
            )
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return background.run(self._agenerate(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return background.stream(self._astream(messages, stop, **kwargs))

    def _route(
        self,
        messages: Sequence[BaseMessage],
        ask: Callable[[BaseChatModel], Pieces],
        options: Mapping[str, Any],
    ) -> Route:
        tools = options.get("tools") or ()
        return Route(
            pool=self.candidates,
            feature_name=self.feature_name,
            feature=self.feature,
            tenant_id=self.tenant_id,
            meter=cast("Meter", self.meter),
            rng=self.rng,
            ask=ask,
            most=sizes.most(messages, tools, self.feature.output_tokens),
            likely=sizes.likely(messages, tools, self.feature.output_tokens),
            with_tools=bool(tools),
        )

    def _stated(self, route: Route, error: NoAnswerError) -> str:
        """The feature's stated answer. Raises the error where there is none, or where candidates
        are left that are not to be asked."""
        if self.feature.fallback is None or not route.given_up:
            raise error
        return self.feature.fallback

    def _told(self, route: Route) -> dict[str, Any]:
        name = "" if route.given_up else route.served_by
        served = self.candidates.candidate(name) if name else None
        galena = {
            "candidate": name,
            "provider": served.provider if served else "",
            "model": served.model if served else "",
            "attempts": route.attempts,
            "offline": served is not None and served.provider == OFFLINE,
            "fallback": served is None,
            "seconds": round(time.monotonic() - route.began, 6),
        }
        return {"galena": galena} if served else {"galena": galena, "finish_reason": "stop"}


def _telling(said: ChatGeneration, of_all: Mapping[str, Any] | None = None) -> ChatGeneration:
    """What was said, with all that is told of it in the message, as LangChain's own runs have it:
    why an answer ended OpenAI's class tells of the message, Anthropic's of the whole response."""
    told = {**(of_all or {}), **(said.generation_info or {}), **said.message.response_metadata}
    message = said.message.model_copy(update={"response_metadata": told})
    return said.model_copy(update={"message": message})


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with tools in the one format that all candidates' classes read."""
    tools = [convert_to_openai_tool(tool) for tool in options.get("tools") or ()]
    return {**options, "tools": tools}


def _bound(model: BaseChatModel, given: Mapping[str, Any]) -> tuple[BaseChatModel, dict[str, Any]]:
    """The candidate's model and the options of its request, tools in its own format."""
    options = {
        name: value
        for name, value in given.items()
        if name not in ("tools", "stream", "ls_structured_output_format", *_OF_TOOLS)
    }
    if not given.get("tools"):
        return model, options
    said = {name: given[name] for name in _OF_TOOLS if given.get(name) is not None}
    binding = model.bind_tools(given["tools"], **said)
    assert isinstance(binding, RunnableBinding)
    return cast("BaseChatModel", binding.bound), {**binding.kwargs, **options}
