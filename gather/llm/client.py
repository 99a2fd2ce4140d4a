"""Language models behind an endpoint: one way to ask, cached, bounded, nothing paid for twice.

`Client` speaks to any OpenAI-compatible server; `concurrently` asks many prompts at once and survives
Ctrl-C. The rest of the interface (`Model`, `Counted`, `Scripted`, ...) is in `gather.llm.base`.

A prompt that gets no answer after all attempts raises `ModelFailure`. A key or an address that cannot
be right is an `InputError` and ends the run. Keys come from the environment only and are written
nowhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from gather.llm.base import (
    Counted,
    Message,
    Model,
    ModelFailure,
    Reply,
    Schema,
    Usage,
    as_messages,
    estimate_prompt_tokens,
    estimate_tokens,
)
from gather.llm.endpoint import Endpoint, EndpointFault, Refusal, TooSlow, Unreachable
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from gather.llm.cache import ReplyCache

T = TypeVar("T")
R = TypeVar("R")

OPENAI_URL = "https://api.openai.com/v1"
_GIVE_UP_AFTER = 8
"""Prompts in a row without an answer, after which an endpoint counts as dead and is not asked again."""


class Client:
    """An OpenAI-compatible chat endpoint.

    Parameters
    ----------
    model, base_url
        As the endpoint names them; without `base_url` the OpenAI API. The key is the environment's
        ``OPENAI_API_KEY``.
    cache
        Where replies are kept as soon as they arrive; None keeps them for the life of this object only.
    temperature, seed, max_tokens
        Sampling; part of the cache key.
    timeout_s, attempts, backoff_s
        Each prompt is tried `attempts` times, each for `timeout_s` from the first byte sent to the last read.
        Waits double from `backoff_s`, or are what the endpoint asks for (``Retry-After``, at most a minute).
        Retried: 408, 409, 429, 5xx, timeouts, dropped connections, replies that are no chat completion. After
        a timeout half as many requests are under way at once, down to one: a slow server gets through one
        where it would lose eight.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        cache: ReplyCache | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        max_tokens: int = 1024,
        timeout_s: float = 120.0,
        attempts: int = 5,
        backoff_s: float = 1.0,
    ) -> None:
        key = os.environ.get("OPENAI_API_KEY", "")
        if not key and base_url is None:
            raise InputError(
                "no OPENAI_API_KEY in the environment; "
                "set it, or name a local server with --base-url http://127.0.0.1:8000/v1"
            )
        self.name = model
        self.timeout_s, self.attempts, self.backoff_s = timeout_s, attempts, backoff_s
        address = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        self._endpoint = Endpoint(address, key, timeout_s=timeout_s)
        self.base_url = self._endpoint.shown
        # Mark requests as batch so that a local server can prioritise interactive users. OpenAI offers this tier
        # for some models only.
        self._transport: dict[str, Any] = {} if base_url is None else {"service_tier": "flex"}
        self._cache = cache
        self._settings: dict[str, Any] = {
            "model": model,
            "temperature": temperature,
            "seed": seed,
            "max_tokens": max_tokens,
        }
        self._under_way: dict[str, Future[Reply]] = {}
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._schema_works: bool | None = None  # None: not tried yet
        self._refused: set[str] = set()
        self._failed_in_a_row = 0
        self._stop = threading.Event()
        self._lanes = _Lanes()
        self._heard = False  # whether anything ever listened at the address

    def complete(
        self, prompt: str | Sequence[Message], *, schema: Schema | None = None, max_tokens: int | None = None
    ) -> Reply:
        """Answer from the cache, from the same prompt under way in another thread, or from the endpoint.

        Raises
        ------
        ModelFailure
            No usable answer after all attempts, or the endpoint was given up on, or `stop` was called.
        InputError
            The endpoint refuses the key, does not know the model or the address, or nothing listens there.
        """
        request = self._settings | {"messages": as_messages(prompt)}
        if max_tokens is not None:
            request["max_tokens"] = max_tokens
        key = self._key(request, schema)
        if self._cache is not None and (reply := self._cache.get(key)):
            return reply
        with self._lock:
            shared = self._under_way.get(key)
            if shared is None:
                own = self._under_way[key] = Future()
        if shared is not None:
            return replace(shared.result(), cached=True, attempts=1)
        try:
            reply = self._settle(request, schema)
        except BaseException as error:
            with self._lock:  # a failure is not kept: the same prompt may be tried again later
                del self._under_way[key]
            own.set_exception(error)
            raise
        if self._cache is not None:
            self._cache.put(key, reply, model=self.name)
        own.set_result(reply)
        return reply

    def cached(self, prompt: str | Sequence[Message], *, schema: Schema | None = None) -> bool:
        """Whether the reply to a prompt is already here; nothing is sent."""
        request = self._settings | {"messages": as_messages(prompt)}
        return self._cache is not None and self._cache.get(self._key(request, schema)) is not None

    @property
    def sampling(self) -> str:
        """Temperature, seed and longest reply, in words."""
        settings = self._settings
        drawn = f"temperature {settings['temperature']:g}, seed {settings['seed']}"
        return f"{drawn}, at most {settings['max_tokens']} tokens a reply"

    def stop(self) -> None:
        """Send nothing any more; a request under way is still read and kept."""
        self._stop.set()

    def _key(self, request: Mapping[str, Any], schema: Schema | None) -> str:
        text = json.dumps([self.base_url, request, schema], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _settle(self, request: dict[str, Any], schema: Schema | None) -> Reply:
        """Ask with the schema where the endpoint takes one; find out once whether it does."""
        form = json.dumps(schema, sort_keys=True)
        if schema is None or self._schema_works is False or form in self._refused:
            return self._persist(request)
        if self._probed():
            return self._constrained(request, schema, form)
        with self._probing:  # one thread tries, so that a refusal is met once
            if not self._probed():
                return self._constrained(request, schema, form)
        return self._settle(request, schema)

    def _probed(self) -> bool:
        return self._schema_works is not None

    def _constrained(self, request: dict[str, Any], schema: Schema, form: str) -> Reply:
        """Ask with a schema, and without where it is refused; remember which.

        The first schema speaks for all: where it is refused none is sent again. A later one speaks for
        itself.
        """
        described = {"name": "answer", "strict": True, "schema": schema}
        try:
            reply = self._persist(
                request | {"response_format": {"type": "json_schema", "json_schema": described}}
            )
        except Refusal:
            reply = self._persist(request)  # where this fails too, the schema was not the reason
            if self._schema_works:
                self._refused.add(form)
            else:
                self._schema_works = False
            return replace(reply, attempts=reply.attempts + 1)
        self._schema_works = True
        return reply

    def _persist(self, request: dict[str, Any]) -> Reply:
        """Send a request until it is answered; a 400 or 422 to a schema goes to the caller."""
        last = "stopped before it was sent"
        for attempt in range(1, self.attempts + 1):
            with self._lanes.one() as epoch:
                if self._stop.is_set():
                    raise ModelFailure(f"{self.base_url}: {last}; stopped", attempts=attempt)
                if self._failed_in_a_row >= _GIVE_UP_AFTER:
                    raise ModelFailure(
                        f"{self.base_url}: not asked, the last {_GIVE_UP_AFTER} prompts had no answer",
                        attempts=0,
                    )
                outcome = self._send(request, epoch)
            if isinstance(outcome, Reply):
                self._failed_in_a_row = 0
                return replace(outcome, attempts=attempt)
            last, delay_s = outcome
            if attempt < self.attempts:
                self._stop.wait(self.backoff_s * 2 ** (attempt - 1) if delay_s is None else delay_s)
        self._failed_in_a_row += 1
        if not self._heard:
            raise InputError(
                f"{self.base_url}: {last}, {self.attempts} times; start the server, or check --base-url"
            )
        raise ModelFailure(f"{self.base_url}: {last}, {self.attempts} times", attempts=self.attempts)

    def _send(self, request: dict[str, Any], epoch: int) -> Reply | tuple[str, float | None]:
        """One request: a reply, or what went wrong and how long the endpoint wants to be left alone."""
        try:
            text, tokens = self._endpoint.ask(request | self._transport)[:2]
        except Unreachable as fault:
            self._heard = self._heard or not fault.nobody
            return str(fault), None
        except EndpointFault as fault:
            self._heard = True
            if isinstance(fault, Refusal):
                return self._refused_with(fault, with_schema="response_format" in request)
            if isinstance(fault, TooSlow):
                self._lanes.narrow(epoch)
            return str(fault), None
        self._heard = True
        if tokens is None:
            prompt_tokens = estimate_prompt_tokens(request["messages"])
            return Reply(text, Usage(prompt_tokens, estimate_tokens(text), estimated=True))
        return Reply(text, Usage(*tokens))

    def _refused_with(self, refusal: Refusal, *, with_schema: bool) -> tuple[str, float | None]:
        """Return the reason and the wait of a refusal that a retry may cure; raise an error for any other."""
        status = refusal.status
        if status in (401, 403, 404):
            fix = "check OPENAI_API_KEY" if status != 404 else f"check --base-url and --model {self.name}"
            raise InputError(f"{self.base_url}: {refusal}; {fix}") from None
        if status in (408, 409, 429) or status >= 500:
            return str(refusal), refusal.retry_after_s
        if with_schema and status in (400, 422):
            raise refusal
        raise ModelFailure(f"{self.base_url}: {refusal}") from None


class _Lanes:
    """How many requests may be under way at once: as many as ask, until one is not answered in time."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._under_way = 0
        self._most = 1 << 30
        self._epoch = 0

    @contextmanager
    def one(self) -> Iterator[int]:
        """Wait for a free lane and hold it; yields what `narrow` wants to know."""
        with self._change:
            self._change.wait_for(lambda: self._under_way < self._most)
            self._under_way += 1
            epoch = self._epoch
        try:
            yield epoch
        finally:
            with self._change:
                self._under_way -= 1
                self._change.notify_all()

    def narrow(self, epoch: int) -> None:
        """Halve the lanes; requests that started side by side do so once between them."""
        with self._change:
            if epoch == self._epoch:
                self._most = max(1, min(self._most, self._under_way) // 2)
                self._epoch += 1


def concurrently(
    function: Callable[[T], R],
    work: Iterable[T],
    *,
    workers: int,
    model: Model,
    done: Callable[[float], None] = lambda _steps: None,
) -> list[R]:
    """Apply a function that asks a model to each piece of work, `workers` at a time; results in that order.

    On Ctrl-C nothing new is sent, what is under way is waited for (its reply is paid for and goes to the
    cache), and the interrupt is raised again. The first error of a piece ends the run in the same way.
    """
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="ask") as pool:
        futures = [pool.submit(function, piece) for piece in work]
        for future in futures:
            future.add_done_callback(lambda f: None if f.cancelled() else done(1))
        try:
            return [_result(future) for future in futures]
        except BaseException:
            stop_asking(model)
            for future in futures:
                future.cancel()
            wait([future for future in futures if not future.cancelled()])
            raise


def _result(future: Future[R]) -> R:
    """Wait in short steps: a wait without limit would not see Ctrl-C on every platform."""
    while True:
        finished, _ = wait([future], timeout=0.2)
        if finished:
            return future.result()


def stop_asking(model: Model) -> None:
    """Stop the client inside a model, if there is one."""
    inner = model.model if isinstance(model, Counted) else model
    if isinstance(inner, Client):
        inner.stop()
