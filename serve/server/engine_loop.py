"""A thread that owns an engine, and its inbox."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from serve.engine.engine import Engine
from serve.engine.structured_output import Constraint
from serve.errors import KnownError, OverloadedError
from serve.request import FinishReason, Request, TokenEvent

log = logging.getLogger(__name__)

Deliver = Callable[[TokenEvent], object]
_IDLE_S = 0.002


@dataclass(frozen=True, slots=True)
class _Add:
    request: Request
    deliver: Deliver
    accepted: Future[None]
    constraint: Constraint | None


@dataclass(frozen=True, slots=True)
class _Cancel:
    request_id: str


class Worker:
    """Runs an engine's steps on one thread; every method here may be called from any other thread.

    Each accepted request gets events up to one with a finish reason, also when the engine fails.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failed = self._stopping = False
        self.on_failure: Callable[[], object] | None = None
        """Called on the engine's thread when it ends without `stop`."""
        self._inbox: queue.SimpleQueue[_Add | _Cancel | None] = queue.SimpleQueue()
        self._deliver: dict[str, Deliver] = {}
        self._first: Callable[[], object] = lambda: None
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self, first: Callable[[], object] = lambda: None) -> Future[None]:
        """Do `first` on the engine's thread, then take requests; the future says when that begins, or how it failed.

        The model runs on this thread only (`serve.threads.one_thread` says why).
        """
        self._first = first
        self._thread.start()
        return self._ready

    def stop(self) -> None:
        """Cancel the running requests, and wait for the thread to end."""
        self._inbox.put(None)
        self._thread.join()
        gc.unfreeze()

    @property
    def alive(self) -> bool:
        """Whether requests are being served."""
        return self._thread.is_alive() and not self.failed

    def submit(
        self, request: Request, deliver: Deliver, constraint: Constraint | None = None
    ) -> Future[None]:
        """Submit a request. The future completes on acceptance, or raises the RequestError that refused it.

        `deliver` is called on the engine's thread and must not block.
        """
        accepted: Future[None] = Future()
        self._inbox.put(_Add(request, deliver, accepted, constraint))
        if not self.alive:  # the thread may have ended before it read this order
            self._refuse_all()
        return accepted

    def cancel(self, request_id: str) -> None:
        """Drop a request; its last event says cancelled, unless it ended before."""
        self._inbox.put(_Cancel(request_id))

    def _run(self) -> None:
        try:
            self._first()
        except BaseException as error:  # noqa: BLE001 - a panic in a Rust library is no Exception
            self.failed = True
            self._ready.set_exception(error)
            self._refuse_all()
            return
        # A full garbage collection walks every object of the loaded libraries and stops all answers for 0.2 s.
        gc.collect()
        gc.freeze()
        self._ready.set_result(None)
        try:
            while self._take_orders():
                before = self.engine.stats.steps
                for event in self.engine.step():
                    self._hand_out(event)
                if self.engine.has_work and self.engine.stats.steps == before:
                    time.sleep(_IDLE_S)  # a scheduler may pause all work for a moment
        except Exception:
            log.exception("the engine failed; every open request is ended with an error")
        finally:  # also for a panic in a Rust library, which is no Exception
            self.failed = bool(self._deliver) or not self._stopping
            for request_id in list(self._deliver):
                self._end(request_id, FinishReason.ERROR, "the engine failed; see the server's log")
            self._refuse_all()
            if self.failed and self.on_failure is not None:
                self.on_failure()

    def _take_orders(self) -> bool:
        """Process the inbox, and wait if the engine is idle; False after `stop`."""
        while True:
            try:
                order = self._inbox.get(block=not self.engine.has_work)
            except queue.Empty:
                return True
            if order is None:
                self._stopping = True
                for request_id in list(self._deliver):
                    self._cancel(request_id)
                return False
            if isinstance(order, _Cancel):
                self._cancel(order.request_id)
            elif order.accepted.set_running_or_notify_cancel():
                self._add(order)

    def _add(self, order: _Add) -> None:
        try:
            self.engine.add(order.request, order.constraint)
        except KnownError as error:
            order.accepted.set_exception(error)
            return
        self._deliver[order.request.id] = order.deliver
        order.accepted.set_result(None)

    def _cancel(self, request_id: str) -> None:
        if self.engine.cancel(request_id):
            self._end(request_id, FinishReason.CANCELLED)

    def _end(self, request_id: str, reason: FinishReason, error: str | None = None) -> None:
        self._hand_out(TokenEvent(request_id, (), "", (), reason, error))

    def _hand_out(self, event: TokenEvent) -> None:
        deliver = self._deliver[event.request_id]
        if event.finish_reason is not None:
            del self._deliver[event.request_id]
        deliver(event)

    def _refuse_all(self) -> None:
        while True:
            try:
                order = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(order, _Add) and order.accepted.set_running_or_notify_cancel():
                order.accepted.set_exception(OverloadedError("the server is shutting down"))
