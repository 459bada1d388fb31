"""uvicorn's HTTP/1.1 protocol with a limit on how long a request's head may take, which uvicorn does not have.

Without it a client that sends its headers a byte at a time keeps its connection, one of a limited number, for ever. The
same clock bounds how long the rest of a body is read away after an early answer (so that the client gets to read it).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


class TimedProtocol(H11Protocol):
    """``head_time``: seconds, set by ``timed()`` in a subclass."""

    head_time = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        """Let the clock run exactly while neither a request nor uvicorn's own keep-alive timer has the connection."""
        cycle: RequestResponseCycle | None = self.cycle
        answering = cycle is not None and not cycle.response_complete
        kept_alive = self.timeout_keep_alive_task is not None and not self.conn.trailing_data[0]
        if answering or kept_alive or self.transport.is_closing():
            self._stop()
        elif self._head_clock is None:
            self._head_clock = self.loop.call_later(self.head_time, self.transport.close)

    def _stop(self) -> None:
        if self._head_clock is not None:
            self._head_clock.cancel()
            self._head_clock = None


def timed(head_time: float) -> type[TimedProtocol]:
    """The protocol with a limit of its own, in seconds."""
    return type("TimedProtocol", (TimedProtocol,), {"head_time": head_time})
