"""From a body to an engine's request: size limits, tokens, sampling parameters and the compiled schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from serve.engine.engine import Engine
from serve.engine.prompt import encode, render_chat
from serve.engine.structured_output import Constraint
from serve.errors import OverloadedError, RequestError
from serve.request import Request, SamplingParams
from serve.server.protocol import ChatBody, CompletionBody
from serve.server.tool_calls import CallParser, Tool, call_grammar, tool_format

TOO_LONG = "context_length_exceeded"
"""OpenAI's code for a prompt beyond a limit: clients shorten the conversation where they see it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one client's requests."""

    body_bytes: int = 1_000_000
    body_s: float = 30.0
    prompt_tokens: int = 8_192
    output_tokens: int = 4_096
    default_output_tokens: int = 512
    open_requests: int = 256
    prompt_logprobs: int = 200_000
    compile_s: float = 10.0

    @property
    def prompt_bytes(self) -> int:
        """Most bytes of a prompt's text; a longer one is refused before it is tokenised.

        Text has about four bytes a token, and tables of numbers have fewer. Only runs of white space reach sixteen.
        """
        return 16 * self.prompt_tokens


class Preparation:
    """Turns bodies into requests for one engine, off the event loop: a long prompt must not stall the streams."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self.limits = limits
        self._tokenize = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._compile = ThreadPoolExecutor(2, thread_name_prefix="compile")

    def close(self) -> None:
        """End the threads."""
        self._tokenize.shutdown()
        self._compile.shutdown(cancel_futures=True)

    async def requests(self, body: ChatBody | CompletionBody, name: str) -> list[Request]:
        """Checked requests, one per choice, prompt by prompt; the first is called `name`.

        Raises
        ------
        RequestError
            if the prompt or the answer exceeds a limit, or the model cannot take the prompt or the tools.
        """
        prompts = await asyncio.get_running_loop().run_in_executor(self._tokenize, self.tokens, body)
        requests: list[Request] = []
        for ids in prompts:
            params = self._parameters(body, ids)
            for i in range(body.n or 1):
                seed = None if params.seed is None else (params.seed + i) % 2**63
                own = f"{name}-{len(requests)}" if requests else name
                requests.append(Request(own, tuple(ids), replace(params, seed=seed), body.offline))
            self.engine.check(requests[-1])
        self._check_scores(requests)
        return requests

    def _check_scores(self, requests: Sequence[Request]) -> None:
        """Bound the memory that the log-probabilities of a call's prompts take."""
        asked = [(r.params.prompt_logprobs, len(r.prompt)) for r in requests]
        total = sum((top + 1) * tokens for top, tokens in asked if top is not None)
        if total > self.limits.prompt_logprobs:
            raise RequestError(
                f"{total} log-probabilities of prompt tokens; at most {self.limits.prompt_logprobs}: "
                "send fewer prompts, choices or alternatives",
                param="logprobs",
            )

    def _parameters(self, body: ChatBody | CompletionBody, ids: Sequence[int]) -> SamplingParams:
        """How a prompt is answered, within the limits."""
        limits, param = self.limits, "messages" if isinstance(body, ChatBody) else "prompt"
        if len(ids) > limits.prompt_tokens:
            message = f"{len(ids)} prompt tokens; at most {limits.prompt_tokens} (the server's --max-prompt)"
            raise RequestError(message, param=param, code=TOO_LONG)
        room = self.engine.longest - len(ids)
        if room < (body.max_tokens != 0):
            message = f"{len(ids)} prompt tokens leave no room; the model holds {self.engine.longest}"
            raise RequestError(message, param=param, code=TOO_LONG)
        params = body.parameters(min(limits.default_output_tokens, limits.output_tokens, room))
        if params.max_tokens > limits.output_tokens:
            most = f"{limits.output_tokens} (the server's --max-output)"
            raise RequestError(f"max_tokens is {params.max_tokens}; at most {most}", param="max_tokens")
        if isinstance(body, ChatBody) and body.callable_tools:
            params = replace(params, lark=self._call_grammar(body))
        return params

    def _call_grammar(self, body: ChatBody) -> str:
        tools = [
            Tool(t.function.name, t.function.parameters or {"type": "object", "properties": {}})
            for t in body.callable_tools
        ]
        form = tool_format(self.engine.tokenizer.chat_template)
        return call_grammar(
            form, tools, required=body.call_required, several=body.parallel_tool_calls is not False
        )

    def call_parser(self, body: ChatBody | CompletionBody) -> CallParser | None:
        """A parser for one choice's text; None where the answer cannot call tools."""
        if not isinstance(body, ChatBody) or not body.callable_tools:
            return None
        form = tool_format(self.engine.tokenizer.chat_template)
        return CallParser(form, [tool.function.name for tool in body.callable_tools])

    async def constraint(self, request: Request) -> Constraint | None:
        """Compile a request's grammar on a thread of its own; OverloadedError if that takes too long."""
        if request.params.json_schema is None and request.params.lark is None:
            return None
        start = asyncio.get_running_loop().run_in_executor(
            self._compile, self.engine.grammar.start, request.params
        )
        try:
            return await asyncio.wait_for(start, self.limits.compile_s)
        except TimeoutError as error:
            raise OverloadedError(
                f"the JSON schema was not compiled within {self.limits.compile_s} s; send a smaller one"
            ) from error

    def tokens(self, body: ChatBody | CompletionBody) -> list[list[int]]:
        """Token ids of each of a body's prompts."""
        if isinstance(body, ChatBody):
            return [self._chat_tokens(body)]
        return [
            self._encode(prompt, special=True, param="prompt") if isinstance(prompt, str) else list(prompt)
            for prompt in body.prompts
        ]

    def _chat_tokens(self, body: ChatBody) -> list[int]:
        if len(body.messages) > self.limits.prompt_tokens:
            raise RequestError(
                f"{len(body.messages)} messages; at most {self.limits.prompt_tokens}", param="messages"
            )
        self._check_size(sum(message.size for message in body.messages), "messages")
        tools = [tool.model_dump(exclude_none=True) for tool in body.callable_tools]
        if tools:
            self._check_size(len(json.dumps(tools)), "tools")
            tool_format(self.engine.tokenizer.chat_template)
        text = render_chat(self.engine.tokenizer, [m.for_template() for m in body.messages], tools)
        return self._encode(text, special=False, param="messages")

    def _check_size(self, size: int, param: str) -> None:
        if size > self.limits.prompt_bytes:
            raise RequestError(
                f"the prompt has {size} bytes; at most {self.limits.prompt_bytes} "
                f"for {self.limits.prompt_tokens} prompt tokens",
                param=param,
                code=TOO_LONG,
            )

    def _encode(self, text: str, *, special: bool, param: str) -> list[int]:
        self._check_size(len(text), param)
        try:
            self._check_size(len(text.encode()), param)
        except UnicodeEncodeError as error:
            raise RequestError("the text is not valid Unicode (a lone surrogate)", param=param) from error
        return encode(self.engine.tokenizer, text, special=special)
