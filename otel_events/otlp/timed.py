"""Sockets whose operations all end by one point in time, so that no thread has to watch them.

The timeout of a socket is for one operation: an answer of one byte a second never reaches it. And a thread that ends
the request from outside cannot be started while the interpreter ends (since Python 3.12).
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import Any

Buffer = Any
"""Bytes or a buffer of them, as the standard library accepts it."""


class Limit:
    """When the current request has to be over, in seconds of ``time.monotonic()``."""

    def __init__(self) -> None:
        self.ends = math.inf

    def apply(self, sock: socket.socket) -> None:
        """Give the next operation of ``sock`` the time that is left; TimeoutError where none is left."""
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
        """The same connection as a timed socket; ``sock`` is detached from it and must not be used any more."""
        timed = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        timed.limit = limit
        return timed

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.limit.apply(self)
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any) -> None:
        self.limit.apply(self)  # for ``sendall`` a timeout covers the whole call
        super().sendall(*args)


class TimedTLSSocket(ssl.SSLSocket):
    """A TLS socket under a ``Limit``, once it has one: an ``SSLContext`` creates it (``sslsocket_class``)."""

    limit: Limit | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.limit is not None:
            self.limit.apply(self)
        return super().recv_into(*args, **kwargs)

    def send(self, data: Buffer, flags: int = 0) -> int:
        if self.limit is not None:
            self.limit.apply(self)  # ``sendall`` of TLS calls this for each part
        return super().send(data, flags)
