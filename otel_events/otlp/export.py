"""Delivery in the background: in order, at least once, bounded in memory and in time.

A batch is done when the endpoint accepts it or refuses it for good. Until then it is sent again without end, after a
pause: the backoff doubles from INITIAL to LONGEST seconds and is multiplied by a random share (full jitter); where the
endpoint asks for a time, it is that. A batch that does not fit into the queue is not accepted: ``offer`` returns False,
and the caller, whose journal has the events, offers it again later.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import SystemRandom
from typing import Any
from weakref import WeakSet

import msgspec

from otel_events.otlp.config import Signal
from otel_events.otlp.send import Clock, Result, Sender, SystemClock, clip

INITIAL, LONGEST = 1.0, 30.0
"""Seconds."""
QUEUE = 64 << 20
"""Bytes that wait for one signal, at most."""
_RANDOM = SystemRandom()  # the host's own random numbers stay as it seeded them
_logger = logging.getLogger("otel_events")


class Batch(msgspec.Struct, frozen=True):
    """One encoded export request. ``token`` is the caller's and is handed to ``on_done``."""

    signal: Signal
    payload: bytes
    count: int
    """Spans, log records or data points in it."""
    token: Any = None


class Counts(msgspec.Struct):
    """Counts of one signal. Items are spans, log records or data points."""

    sent: int = 0
    """Items that the endpoint accepted."""
    failed: int = 0
    """Items of batches that were refused for good."""
    rejected: int = 0
    """Items that the endpoint rejected from batches that it accepted (partial_success)."""
    retried: int = 0
    """Requests that have to be sent again."""
    queued: int = 0
    """Batches that wait, including the one being sent."""
    queued_bytes: int = 0
    reason: str = ""
    """Why the last request was not accepted in full; "" after one that was."""


Done = Callable[[Any, Result], None]


class Exporter:
    """Sends batches in the background, each signal in a thread of its own.

    A thread starts with the first batch, or by ``start``. Where no thread can be started (while an interpreter ends,
    since Python 3.12), ``close`` sends what waits. A forked child starts with empty queues.
    """

    def __init__(
        self,
        senders: Iterable[Sender],
        on_done: Done | None = None,
        *,
        limit: int = QUEUE,
        clock: Clock | None = None,
        jitter: Callable[[], float] = _RANDOM.random,
    ) -> None:
        """Nothing is sent yet.

        Args:
            senders: One for each signal.
            on_done: Called with token and result of each batch that is done, in the sending thread.
            limit: Bytes in the queue of one signal, at most (see ``offer``).
            clock: Time as sending needs it; the machine's own by default.
            jitter: Gives the share of a pause that is waited, 0 to 1.
        """
        self._clock = clock or SystemClock()
        self._lanes = {sender.signal: _Lane(sender, on_done, limit, self._clock, jitter) for sender in senders}
        _EXPORTERS.add(self)

    def start(self) -> None:
        """Start the thread of each signal now, for a process that may offer its first batch while it ends."""
        for lane in self._lanes.values():
            lane.ensure_thread()

    def resume(self) -> None:
        """Start a thread for batches that wait without one, because none could be started when they were offered."""
        for lane in self._lanes.values():
            if lane.read_counts().queued:
                lane.ensure_thread()

    def offer(self, batch: Batch) -> bool:
        """Queue a batch.

        Args:
            batch: One request; of any size, as long as the queue holds less than ``limit`` bytes.

        Returns:
            False when the queue is full or closed.

        Raises:
            KeyError: No sender is for this signal.
        """
        return self._lanes[batch.signal].offer(batch)

    def has_room(self) -> bool:
        """Whether the next batch would be accepted, of any signal."""
        return all(lane.has_room() for lane in self._lanes.values())

    def idle(self, signal: Signal) -> bool:
        """Whether all batches of a signal are done."""
        return not self._lanes[signal].read_counts().queued

    def flush(self, deadline: float) -> bool:
        """Wait until all batches are done, or until ``deadline`` (of the clock's ``monotonic()``); whether all are."""
        return sum(not lane.wait_until_empty(deadline) for lane in self._lanes.values()) == 0

    def counts(self) -> dict[Signal, Counts]:
        """The current counts of each signal."""
        return {signal: lane.read_counts() for signal, lane in self._lanes.items()}

    def close(self, timeout: float = 5.0) -> list[Batch]:
        """Send what can be sent in time, then stop.

        A batch that waits for its next try is tried once more, unless the endpoint asked for the pause; an endpoint
        that fails during this is not tried again. Signals that have no thread are sent by the caller's, one after the
        other, each in an equal share of the time that is left.

        Args:
            timeout: Seconds that this takes at most.

        Returns:
            The batches that were not sent, in order; ``on_done`` is not called for them.
        """
        deadline = self._clock.monotonic() + timeout - min(0.25, timeout / 10)  # the rest is for closing sockets
        for lane in self._lanes.values():
            lane.begin_to_close(deadline)
        alone = [lane for lane in self._lanes.values() if lane.waits_alone()]
        for ahead, lane in enumerate(alone):
            now = self._clock.monotonic()
            lane.run_here(now + max(0.0, deadline - now) / (len(alone) - ahead))
        left = [batch for lane in self._lanes.values() for batch in lane.end(deadline)]
        for lane in self._lanes.values():
            lane.sender.close()
        return left

    def _after_fork(self) -> None:
        for lane in self._lanes.values():
            lane.reset()
            lane.sender.after_fork()


class _Lane:
    """The queue of one signal and the thread that empties it. The condition ``_held`` guards all state."""

    def __init__(
        self, sender: Sender, on_done: Done | None, limit: int, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        self.sender, self._on_done, self._limit, self._clock, self._jitter = sender, on_done, limit, clock, jitter
        self.reset()

    def reset(self) -> None:
        """Start empty, without a thread, with a new lock: in a forked child the parent's lock may be held for ever."""
        self._held = threading.Condition()
        self._queue: deque[Batch] = deque()
        self._counts = Counts()
        self._thread: threading.Thread | None = None
        self._closing: float | None = None
        self._settling = self._abandoned = self._finished = False

    def offer(self, batch: Batch) -> bool:
        with self._held:
            if not self.has_room():
                return False
            self._queue.append(batch)
            self._counts.queued += 1
            self._counts.queued_bytes += len(batch.payload)
            self.ensure_thread()
            self._held.notify_all()
        return True

    def has_room(self) -> bool:
        return self._counts.queued_bytes < self._limit and not self._is_closing()

    def _is_closing(self) -> bool:
        return self._closing is not None

    def ensure_thread(self) -> None:
        """Start the thread, if it does not run and one can be started."""
        with self._held:
            if self._thread and self._thread.is_alive():
                return
            thread = threading.Thread(target=self._run, name=f"otel-events-{self.sender.signal}", daemon=True)
            with suppress(RuntimeError):  # the interpreter is ending, or the system has no more threads
                thread.start()
                self._thread = thread

    def waits_alone(self) -> bool:
        """Whether batches wait and no thread runs, or can be started, that sends them."""
        with self._held:
            if self._finished:  # what it left has had its last try: a thread begun now would try it again
                return False
            if self._queue:
                self.ensure_thread()
            return bool(self._queue) and self._thread is None

    def run_here(self, deadline: float) -> None:
        """Send what waits on the calling thread, until ``deadline``. Only once the lane begins to close."""
        with self._held:
            self._closing = deadline
        self._run()

    def wait_until_empty(self, deadline: float) -> bool:
        with self._held:
            while self._queue and (left := deadline - self._clock.monotonic()) > 0:
                self._clock.wait(self._held, left)
            return not self._queue

    def read_counts(self) -> Counts:
        with self._held:
            return msgspec.structs.replace(self._counts)

    def begin_to_close(self, deadline: float) -> None:
        with self._held:
            self._closing = deadline
            self._held.notify_all()

    def end(self, deadline: float) -> list[Batch]:
        """Wait for the thread to end, until ``deadline``; the batches that it has not settled by then."""
        with self._held:
            while self._thread and not self._abandoned and (left := deadline - self._clock.monotonic()) > 0:
                self._clock.wait(self._held, left)
            self._abandoned = True
            return list(self._queue)[1 if self._settling else 0 :]

    def _run(self) -> None:
        try:
            while (batch := self._head()) and (result := self._deliver(batch)) and self._settle(batch, result):
                pass
        finally:
            with self._held:
                self._thread, self._finished = None, True  # it ends only because the lane closes
                self._held.notify_all()

    def _head(self) -> Batch | None:
        """The next batch, waited for; None when there is none and none will come."""
        with self._held:
            while not self._queue and not self._is_closing():
                self._clock.wait(self._held, None)
            return self._queue[0] if self._queue else None

    def _deliver(self, batch: Batch) -> Result | None:
        """The final answer to a batch; None when we close before there is one."""
        tries = 0
        while (result := self._try(batch)).outcome == "retry":
            if not self._pause(result, tries):
                return None
            tries += 1
        return result

    def _try(self, batch: Batch) -> Result:
        deadline = self._clock.monotonic() + self.sender.timeout
        with self._held:
            deadline = min(deadline, self._closing) if self._closing is not None else deadline
        try:
            return self.sender.send(batch.payload, deadline)
        except Exception as broken:  # noqa: BLE001 - a fault of the sender itself: the batch stays, the counts say why
            return Result("retry", clip(f"{type(broken).__name__}: {broken}"))

    def _pause(self, result: Result, tries: int) -> bool:
        """Wait for the next try; False if there is to be none."""
        with self._held:
            self._counts.retried += 1
            self._counts.reason = result.reason
            if self._is_closing():
                return False
            own = self._jitter() * min(LONGEST, INITIAL * 2.0 ** min(tries, 10))
            until = self._clock.monotonic() + (own if result.after is None else result.after)
            while not self._is_closing() and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._held, left)
            return not self._is_closing() or result.after is None

    def _settle(self, batch: Batch, result: Result) -> bool:
        """Remove a batch that is done; False if ``end`` has returned it as unsent in the meantime."""
        with self._held:
            if self._abandoned:
                return False
            self._settling = True  # from here on ``end`` does not return it: ``on_done`` gets it
            self._count(batch, result)
        if self._on_done:
            try:
                self._on_done(batch.token, result)
            except Exception:
                _logger.exception("on_done failed for a batch of %s that is done; go on", batch.signal)
        with self._held:
            self._queue.popleft()
            self._counts.queued -= 1
            self._counts.queued_bytes -= len(batch.payload)
            self._settling = False
            self._held.notify_all()
        return True

    def _count(self, batch: Batch, result: Result) -> None:
        counts = self._counts
        counts.reason = result.reason or result.message
        if result.outcome == "refused":
            counts.failed += batch.count
        else:
            rejected = min(result.rejected, batch.count)
            counts.sent += batch.count - rejected
            counts.rejected += rejected


_EXPORTERS: WeakSet[Exporter] = WeakSet()


def _after_fork_in_child() -> None:
    for exporter in list(_EXPORTERS):
        exporter._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
