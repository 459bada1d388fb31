"""Sockets whose operations all end by one point in time: no thread has to watch them.

A timeout of a socket is for one operation. An answer that comes a byte a second never meets it, and a thread that ends
the request from outside cannot be had at the end of an interpreter (Python 3.12 and later start none there).
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import Any

Buffer = Any
"""Bytes, or what holds some: as the standard library takes it."""


class Limit:
    """When the request that is under way has to be over, in seconds of ``time.monotonic()``."""

    def __init__(self) -> None:
        self.ends = math.inf

    def apply(self, sock: socket.socket) -> None:
        """Give the next operation of ``sock`` the time that is left. TimeoutError where there is none."""
        if self.ends == math.inf:
            return
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time left")
        sock.settimeout(left)


class TimedSocket(socket.socket):
    """A plain socket under a ``Limit``."""

    limit: Limit

    @classmethod
    def of(cls, sock: socket.socket, limit: Limit) -> TimedSocket:
        """The same connection; ``sock`` is not to be used any more."""
        timed = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        timed.limit = limit
        return timed

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.limit.apply(self)
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any) -> None:
        self.limit.apply(self)  # the timeout of ``sendall`` is for the whole of it
        super().sendall(*args)


class TimedTLSSocket(ssl.SSLSocket):
    """A TLS socket under a ``Limit``, once it has one: an ``SSLContext`` makes it (``sslsocket_class``)."""

    limit: Limit | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.limit is not None:
            self.limit.apply(self)
        return super().recv_into(*args, **kwargs)

    def send(self, data: Buffer, flags: int = 0) -> int:
        if self.limit is not None:
            self.limit.apply(self)  # ``sendall`` of TLS is made of these
        return super().send(data, flags)
