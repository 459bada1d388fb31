"""Where telemetry goes, from ``OTEL_EXPORTER_OTLP_*``, read as the SDK's exporters read it (1.45.2, their source).

A variable of one signal (``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) wins over the general one; an empty one counts as not
set. The default protocol is gRPC, as it is the SDK's for the exporter named ``otlp``. Three things differ on purpose:
a wrong value is an error here, where the SDK warns and goes on with a default; ``none`` is a compression for gRPC too,
as in the specification; and each certificate variable of gRPC falls back to the general one on its own, where the SDK
ignores a client certificate without ``..._CERTIFICATE``.

Header values are secrets: no error, log or repr shows them.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args
from urllib.parse import unquote, urlsplit

import msgspec
from opentelemetry.sdk.version import __version__ as sdk_version

from otel_events.model.errors import ConfigError
from otel_events.model.telemetry import Attributes

Signal = Literal["traces", "metrics", "logs"]
Protocol = Literal["grpc", "http/protobuf"]
Compression = Literal["none", "gzip", "deflate"]

SIGNALS: tuple[Signal, ...] = get_args(Signal)
PREFIX = "OTEL_EXPORTER_OTLP_"
DEFAULTS: dict[str, str] = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
COMPRESSIONS: dict[str, tuple[str, ...]] = {"grpc": ("none", "gzip"), "http/protobuf": ("none", "gzip", "deflate")}
SERVICE_NAME = "otel_events"

_HEADER = re.compile(r"([!#-'*+\-.0-9A-Z^-z|~]+)[ \t]*=[ \t]*([ !#-+\--:<-\[\]-~]*)")
_HEADER_NAMES = {"grpc": re.compile(r"[0-9a-z_.-]+(?<!-bin)"), "http/protobuf": re.compile(r"[!#-'*+\-.0-9^-z|~]+")}


class Secret:
    """A text that only ``reveal()`` shows; its repr hides it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how one signal is sent. Certificates and keys are paths of PEM files, "" for none."""

    signal: Signal
    protocol: Protocol
    address: str
    """A whole URL for http/protobuf, a target such as ``localhost:4317`` for grpc."""
    secure: bool
    headers: dict[str, Secret] = {}
    """By name in lower case."""
    timeout: float = 10.0
    """Seconds for one request."""
    compression: Compression = "none"
    certificate: str = ""
    """Certificates of the authorities to trust; "" for the system's."""
    client_key: str = ""
    client_certificate: str = ""


class Config(msgspec.Struct, frozen=True):
    """An endpoint for each signal, and the attributes of the resource that all telemetry belongs to."""

    endpoints: dict[Signal, Endpoint]
    resource: Attributes


class _Variable(msgspec.Struct, frozen=True):
    """A value and the name of the variable that it is from; both may be "" when none is set."""

    name: str
    value: str

    def wrong(self, takes: str, shown: bool = True) -> ConfigError:
        value = f" is {self.value!r}, but" if shown and "@" not in self.value else ""
        return ConfigError(f"{self.name}{value} takes {takes}; correct it or unset it")


def from_env(environ: Mapping[str, str]) -> Config:
    """Read the configuration.

    Args:
        environ: Environment variables, such as ``os.environ``.

    Returns:
        An endpoint for each signal, and the attributes of the resource.

    Raises:
        ConfigError: A value is wrong; names the variable and what it takes.

    Example:
        >>> config = from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_SERVICE_NAME": "etl"})
        >>> config.endpoints["traces"].address, config.resource["service.name"]
        ('collector:4317', 'etl')
    """
    return Config({signal: _endpoint(environ, signal) for signal in SIGNALS}, _resource(environ))


def _find(environ: Mapping[str, str], signal: Signal, setting: str) -> _Variable:
    """The variable of the signal, else the general one."""
    for name in (f"{PREFIX}{signal.upper()}_{setting}", PREFIX + setting):
        if value := environ.get(name, "").strip():
            return _Variable(name, value)
    return _Variable(PREFIX + setting, "")


def _endpoint(environ: Mapping[str, str], signal: Signal) -> Endpoint:
    protocol = _protocol(_find(environ, signal, "PROTOCOL"))
    read: dict[str, Any] = {"signal": signal, "protocol": protocol}
    for setting, parse in _SETTINGS.items():
        read[setting.lower()] = parse(_find(environ, signal, setting), protocol)
    where = _find(environ, signal, "ENDPOINT")
    if protocol == "grpc":
        read["address"], read["secure"] = _target(where, _find(environ, signal, "INSECURE"))
    else:
        read["address"], read["secure"], login = _url(where, signal)
        read["headers"] |= login
    if read["client_key"] and not read["client_certificate"]:
        raise _find(environ, signal, "CLIENT_KEY").wrong("a key whose certificate CLIENT_CERTIFICATE names")
    if read["client_certificate"] and not read["client_key"] and protocol == "grpc":
        raise _find(environ, signal, "CLIENT_CERTIFICATE").wrong("a certificate whose key CLIENT_KEY names")
    return Endpoint(**read)


def _protocol(variable: _Variable) -> Protocol:
    for protocol in get_args(Protocol):
        if variable.value in (protocol, ""):
            chosen: Protocol = protocol
            return chosen
    raise variable.wrong("grpc or http/protobuf")


def _headers(variable: _Variable, protocol: Protocol) -> dict[str, Secret]:
    """``key=value`` pairs with commas between, percent-encoded; a value with a space in it is taken as it stands."""
    headers: dict[str, Secret] = {}
    for number, pair in enumerate(re.split(r"[ \t]*,[ \t]*", variable.value), 1):
        if not pair:
            continue
        match = _HEADER.fullmatch(pair.strip())
        if not match:
            raise variable.wrong(f"key=value pairs, values percent-encoded (pair {number} is none)", shown=False)
        plain = (lambda text: text) if " " in match[2] else unquote
        name, value = plain(match[1]).strip().lower(), plain(match[2]).strip()
        if not _HEADER_NAMES[protocol].fullmatch(name) or not (value.isascii() and (value.isprintable() or not value)):
            takes = f"header names and printable ASCII values that {protocol} can carry (pair {number} is not)"
            raise variable.wrong(takes, shown=False)
        headers[name] = Secret(value)
    return headers


def _timeout(variable: _Variable, _: Protocol) -> float:
    try:
        seconds = float(variable.value or 10)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise variable.wrong("seconds above 0, such as 10")
    return seconds


def _compression(variable: _Variable, protocol: Protocol) -> str:
    name = variable.value.lower() or "none"
    if name not in COMPRESSIONS[protocol]:
        raise variable.wrong(" or ".join(COMPRESSIONS[protocol]) + f" with {protocol}")
    return name


def _file(variable: _Variable, _: Protocol) -> str:
    return variable.value


_SETTINGS: dict[str, Callable[[_Variable, Protocol], Any]] = {
    "HEADERS": _headers,
    "TIMEOUT": _timeout,
    "COMPRESSION": _compression,
    "CERTIFICATE": _file,
    "CLIENT_KEY": _file,
    "CLIENT_CERTIFICATE": _file,
}
"""What is read for every signal and protocol, into the field of that name in lower case."""


def _target(where: _Variable, insecure: _Variable) -> tuple[str, bool]:
    """(gRPC target, whether TLS is on): https means TLS, else INSECURE decides, else TLS unless the scheme is http."""
    address = where.value or DEFAULTS["grpc"]
    try:
        parsed = urlsplit(address)
    except ValueError:
        raise where.wrong("a URL such as http://localhost:4317") from None
    if "@" in parsed.netloc:
        raise where.wrong("no user or password with grpc: give them in OTEL_EXPORTER_OTLP_HEADERS", shown=False)
    choice = insecure.value.lower()
    if choice not in ("true", "false", ""):
        raise insecure.wrong("true or false")
    plain = choice == "true" if choice else parsed.scheme == "http"
    return parsed.netloc or address, parsed.scheme == "https" or not plain


def _url(where: _Variable, signal: Signal) -> tuple[str, bool, dict[str, Secret]]:
    """(URL, whether TLS is on, the header that user and password of the URL become)."""
    try:
        parsed = urlsplit(where.value or DEFAULTS["http/protobuf"])
        good = parsed.scheme in ("http", "https") and parsed.hostname and parsed.port != 0
    except ValueError:  # of a port that is no number, or a bracket that is never closed
        good = False
    if not good:
        raise where.wrong("a URL such as http://localhost:4318")
    user, at, host = parsed.netloc.rpartition("@")
    login = {"authorization": Secret("Basic " + b64encode(unquote(user).encode()).decode())} if at else {}
    address = parsed._replace(netloc=host).geturl()
    if where.name == PREFIX + "ENDPOINT":
        address = f"{address.removesuffix('/')}/v1/{signal}"
    return address, parsed.scheme == "https", login


def _resource(environ: Mapping[str, str]) -> Attributes:
    """OTEL_RESOURCE_ATTRIBUTES over the SDK's own, OTEL_SERVICE_NAME over both."""
    variable = _Variable("OTEL_RESOURCE_ATTRIBUTES", environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    attributes: Attributes = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
    }
    for pair in filter(str.strip, variable.value.split(",")):
        key, equals, value = pair.partition("=")
        if not (equals and key.strip()):
            raise variable.wrong("key=value pairs with commas between, values percent-encoded")
        attributes[key.strip()] = unquote(value.strip())
    name = environ.get("OTEL_SERVICE_NAME", "") or attributes.get("service.name")
    return attributes | {"service.name": name or SERVICE_NAME}
