"""Access to the API: a login by key and secret gives a signed token (JWT), which clients send as bearer or cookie."""

from __future__ import annotations

import binascii
import hmac
import secrets
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

import jwt
import msgspec

from otel_events.clearml_server.api.base import ApiError
from otel_events.clearml_server.store import Documents
from otel_events.model.errors import ConfigError

SERVER_VERSION = "2.3.0"
"""The version of the recorded server, whose answers the API gives."""
COMPANY = "d1bd92a3b039400cbafc60a7a5b1e52b"
"""The one company: its id in every ClearML server that was set up by default."""
COOKIE = "clearml_token_basic"
LIFE = 30 * 24 * 3600
"""Seconds that a token is valid; the SDK asks for a new one in time."""
KEY_VARIABLE, SECRET_VARIABLE = "OTEL_EVENTS_CLEARML_KEY", "OTEL_EVENTS_CLEARML_SECRET"
ALGORITHM = "HS256"


class User(msgspec.Struct, frozen=True):
    """The caller of a request."""

    id: str
    name: str


class Access:
    """Checks logins and tokens."""

    def __init__(self, credentials: Mapping[str, str], signing: bytes, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            credentials: Secret by key. Empty accepts every login, which is safe on loopback only.
            signing: The key that signs tokens.
            clock: Epoch seconds.
        """
        self._credentials, self._signing, self._clock = dict(credentials), signing, clock

    def login(self, authorization: str) -> tuple[User, str]:
        """The user and a new token.

        Args:
            authorization: The header, with ``Basic`` credentials or an older token.

        Raises:
            ApiError: 401, neither is valid.
        """
        scheme, _, given = authorization.partition(" ")
        user = self._by_key(given) if scheme.lower() == "basic" else self.user(authorization)
        return user, self._token(user)

    def user(self, authorization: str, cookie: str = "") -> User:
        """Whose call it is.

        Args:
            authorization: The header of that name, or "".
            cookie: The header of that name, used where there is no authorization.

        Raises:
            ApiError: 401/10, /20, /22 or /30.
        """
        scheme, _, given = authorization.partition(" ")
        if not authorization:
            given = _cookie(cookie)
            if not given:
                raise ApiError(401, 20, "Unauthorized (missing credentials)")
        elif scheme.lower() == "basic":
            return self._by_key(given)
        elif scheme.lower() != "bearer":
            raise ApiError(401, 10, "Unauthorized (bad authentication header type)")
        return self._by_token(given.strip())

    def _by_key(self, given: str) -> User:
        try:
            key, colon, secret = b64decode(given.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            key, colon, secret = "", "", ""
        expected = self._credentials.get(key, "") if self._credentials else secret
        # Compared in constant time, so that answers do not tell how much of a secret was right.
        same = hmac.compare_digest(secret.encode(), expected.encode())
        if not (key and colon and secret and expected and same):
            raise ApiError(401, 22, "Unauthorized (invalid credentials) (failed to locate provided credentials)")
        return User(uuid.uuid5(uuid.NAMESPACE_OID, key).hex, key[:50])

    def _by_token(self, token: str) -> User:
        try:
            claims = jwt.decode(token, self._signing, algorithms=[ALGORITHM], options={"verify_iat": False})
            identity = claims["identity"]
            return User(str(identity["user"]), str(identity["user_name"]))
        except jwt.ExpiredSignatureError as error:
            raise ApiError(401, 30, "Invalid token (token expired)") from error
        except (jwt.InvalidTokenError, KeyError, TypeError) as error:
            raise ApiError(401, 30, f"Invalid token (invalid jwt token): reason={error}") from error

    def _token(self, user: User) -> str:
        now = int(self._clock())
        identity = {
            "user": user.id,
            "company": COMPANY,
            "role": "user",
            "user_name": user.name,
            "company_name": "otel_events",
        }
        claims: dict[str, Any] = {
            "session_id": secrets.token_hex(16),
            "auth_type": "Bearer",
            "iat": now,
            "exp": now + LIFE,
            "env": "",
            "identity": identity,
            "api_version": "2.34",
            "server_version": SERVER_VERSION,
            "server_build": "otel_events",
            "feature_set": "basic",
        }
        return jwt.encode(claims, self._signing, algorithm=ALGORITHM)


def _cookie(header: str) -> str:
    try:
        cookie = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def signing_key(documents: Documents) -> bytes:
    """The key that signs this store's tokens. It is created once, so that a token outlives a restart."""
    setting = documents.get("setting", "signing")
    if setting is None:
        setting = {"key": secrets.token_hex(32)}
        documents.put("setting", "signing", setting)
    return bytes.fromhex(str(setting["key"]))


def credentials(environ: Mapping[str, str], path: str = "") -> dict[str, str]:
    """The secrets of logins, by key.

    Args:
        environ: Environment variables; KEY_VARIABLE and SECRET_VARIABLE are read.
        path: A file with one ``key:secret`` a line, which is used instead of the environment.

    Raises:
        ConfigError: The file cannot be read, or one variable is set without the other.
    """
    if path:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--clearml-credentials {path} cannot be read ({error}): check the path") from error
        pairs = [line.strip().partition(":") for line in text.splitlines() if line.strip() and line[:1] != "#"]
        if not pairs or not all(key and secret for key, _, secret in pairs):
            raise ConfigError(f"--clearml-credentials {path}: one KEY:SECRET a line is needed")
        return {key: secret for key, _, secret in pairs}
    key, secret = environ.get(KEY_VARIABLE, ""), environ.get(SECRET_VARIABLE, "")
    if bool(key) != bool(secret):
        raise ConfigError(f"{KEY_VARIABLE} and {SECRET_VARIABLE} go together: set both or none")
    return {key: secret} if key else {}
