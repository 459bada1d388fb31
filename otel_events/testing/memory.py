"""A collector without sockets: senders that decode what they are given, and answer as a test says."""

from __future__ import annotations

from collections import deque

from google.protobuf.message import DecodeError

from otel_events.otlp.config import SIGNALS, Signal
from otel_events.otlp.send import Result, Sender
from otel_events.testing.received import Received


class Memory(Received):
    """What the ``senders`` sent. ``answers`` are given to the next requests, one each; then all are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: deque[Result] = deque()
        self.senders: list[Sender] = [_MemorySender(signal, self) for signal in SIGNALS]


def capture() -> Memory:
    """A collector in memory.

    >>> memory = capture()
    >>> memory.answers.append(Result("refused", "too old"))
    >>> traces, metrics, logs = memory.senders
    >>> traces.send(b"", deadline=10.0).reason
    'too old'
    >>> traces.send(b"", deadline=10.0).outcome
    'ok'
    """
    return Memory()


class _MemorySender:
    """A Sender; see otlp.send."""

    timeout = 10.0

    def __init__(self, signal: Signal, memory: Memory) -> None:
        self.signal, self._memory = signal, memory

    def send(self, payload: bytes, deadline: float) -> Result:
        """Give the next answer; where that is "ok", store the request."""
        answer = self._memory.answers.popleft() if self._memory.answers else Result("ok")
        if answer.outcome == "ok":
            try:
                self._memory.store(self.signal, "memory", {}, payload)
            except DecodeError as error:
                return Result("refused", str(error))
        return answer

    def close(self) -> None:
        """There are no sockets."""

    def after_fork(self) -> None:
        """There are no sockets."""
