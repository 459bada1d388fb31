"""Who may ask: a bearer token, and what is open without one.

| bound to | POST | /metrics | /healthz, /readyz |
|---|---|---|---|
| loopback, no token | open, but only under a loopback Host | the same | the same |
| loopback, token | token | open, but only under a loopback Host | the same |
| any other address (only with a token) | token | token | open; reasons of /readyz with the token |

The token comes as `Authorization: Bearer TOKEN`, or as the password of basic credentials (any user), for senders that
can be given a URL only: http://any:TOKEN@host.

The Host rule keeps web pages out: a page whose name was made to resolve to 127.0.0.1 still sends its own name.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
from pathlib import Path

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_events.model.errors import ConfigError
from otel_events.server.answers import problem

TOKEN_VARIABLE = "OTEL_EVENTS_TOKEN"  # noqa: S105 - the name of a variable, not a token
MIN_TOKEN = 16
MAKE_ONE = "`openssl rand -hex 32` makes one"
TRUSTED = "otel_events.trusted"
"""Key of the ASGI scope: whether the asker may read what is internal (loopback, or with the token)."""

PROBES = frozenset({"/healthz", "/readyz"})
READABLE = PROBES | {"/metrics"}


class Access(msgspec.Struct, frozen=True):
    """The address that is bound, and the token that is asked for; "" for none."""

    host: str = "127.0.0.1"
    token: str = ""

    def __repr__(self) -> str:
        return f"Access(host={self.host!r}, token={'set' if self.token else 'none'})"

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own; other names are not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def access(host: str, token: str = "", token_file: str = "") -> Access:
    """The access rules for a bind. ConfigError: beyond loopback without a token, or a token that is no good."""
    if token_file:
        try:
            token = Path(token_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--token-file {token_file} cannot be read ({error}): check the path and rights"
            ) from error
    token = token.strip()
    if (token or token_file) and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        where = f"the file {token_file}" if token_file else TOKEN_VARIABLE
        reason = f"the token of {where} must be {MIN_TOKEN} or more printable ASCII characters: {MAKE_ONE}"
        raise ConfigError(reason)
    if not token and not is_loopback(host):
        reason = f"--host {host} takes records from other machines, and no token is set: "
        raise ConfigError(f"{reason}set {TOKEN_VARIABLE} or --token-file ({MAKE_ONE}), or bind to 127.0.0.1")
    return Access(host, token)


class Guard:
    """ASGI: lets through what the table above lets through, and answers the rest with 401 or 403."""

    def __init__(self, app: ASGIApp, rules: Access) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        has_token = bool(self._rules.token) and _has_token(headers, self._rules.token)
        scope[TRUSTED] = has_token or self._rules.loopback
        refused = None if has_token else self._refusal(scope["path"], headers)
        await (refused or self._app)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> ASGIApp | None:
        open_paths = READABLE if self._rules.loopback else PROBES
        if self._rules.token and path not in open_paths:
            challenge = {"WWW-Authenticate": 'Bearer realm="otel-events"'}
            return problem(401, "the bearer token is missing or wrong: send `Authorization: Bearer TOKEN`", challenge)
        asked = _host_name(headers.get("host", ""))
        if self._rules.loopback and asked and not is_loopback(asked):
            return problem(403, "the Host header names another machine: ask for localhost or 127.0.0.1, or use a token")
        return None


def _host_name(value: str) -> str:
    """The name in a Host header, without its port."""
    return value.split("]")[0] + "]" if value.startswith("[") else value.partition(":")[0]


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    given = credentials.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        given = _password(given)
    same = hmac.compare_digest(given, token.encode())
    return same and scheme.lower() in ("bearer", "basic")


def _password(credentials: bytes) -> bytes:
    """The password of basic credentials (RFC 7617); b"" where they are none."""
    try:
        return binascii.a2b_base64(credentials).partition(b":")[2]
    except binascii.Error:
        return b""
