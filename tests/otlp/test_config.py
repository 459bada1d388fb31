"""The environment is read as the SDK's exporters read it: compared with the exporters themselves."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._configuration import _get_exporter_entry_point as entry_point
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.re import parse_env_headers

from otel_events.model.errors import ConfigError
from otel_events.otlp.config import SIGNALS, Secret, Signal, from_env

P = "OTEL_EXPORTER_OTLP_"
HTTP = {P + "PROTOCOL": "http/protobuf"}
GRPC = {P + "PROTOCOL": "grpc"}
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {P + "ENDPOINT": "http://collector:4317"},
    {P + "ENDPOINT": "http://collector:4317/"},
    {P + "ENDPOINT": "http://collector/base"},
    {P + "ENDPOINT": "http://collector/base/"},
    {P + "ENDPOINT": "https://collector:443"},
    {P + "ENDPOINT": "http://[::1]:4318"},
    {P + "ENDPOINT": ""},
    {P + "TRACES_ENDPOINT": "http://traces:1/custom"},
    {P + "TRACES_ENDPOINT": "http://traces:1/", P + "ENDPOINT": "https://collector:2"},
    {P + "ENDPOINT": "https://collector", P + "INSECURE": "true"},
    {P + "ENDPOINT": "http://collector", P + "INSECURE": "false"},
    {P + "ENDPOINT": "http://collector", P + "TRACES_INSECURE": "FALSE"},
    {P + "INSECURE": "false", P + "LOGS_INSECURE": "True"},
    {P + "HEADERS": "api-key=abc%20def,Authorization=Bearer%20t%3D"},
    {P + "HEADERS": " a = b , , c=d=e "},
    {P + "HEADERS": "authorization=Bearer token of a user"},
    {P + "HEADERS": "a=1", P + "METRICS_HEADERS": "b=2"},
    {P + "HEADERS": "empty="},
    {P + "TIMEOUT": "2.5"},
    {P + "TIMEOUT": "30", P + "LOGS_TIMEOUT": "1"},
    {P + "COMPRESSION": "gzip"},
    {P + "COMPRESSION": " GZIP "},
    {P + "TRACES_COMPRESSION": "gzip"},
]
GRPC_ONLY = [
    {P + "ENDPOINT": "collector:4317"},
    {P + "ENDPOINT": "127.0.0.1:4317", P + "INSECURE": "true"},
    {P + "ENDPOINT": "dns:///collector:4317", P + "INSECURE": "true"},
    {P + "ENDPOINT": "grpc://collector:4317"},
]
HTTP_ONLY = [
    {P + "COMPRESSION": "deflate"},
    {P + "COMPRESSION": "gzip", P + "TRACES_COMPRESSION": "none"},
    {P + "HEADERS": "user-agent=mine"},
]
GRPC_EXPORTERS: dict[Signal, Any] = {"traces": GrpcSpans, "metrics": GrpcMetrics, "logs": GrpcLogs}
HTTP_EXPORTERS: dict[Signal, Any] = {"traces": HttpSpans, "metrics": HttpMetrics, "logs": HttpLogs}
ALWAYS = ("user-agent", "content-type", "Content-Encoding")
"""Headers that an exporter sets by itself."""


def plain(headers: dict[str, Secret]) -> dict[str, str]:
    return {name: value.reveal() for name, value in headers.items()}


@pytest.mark.parametrize("environ", ENVIRONMENTS + GRPC_ONLY, ids=str)
@pytest.mark.parametrize("signal", SIGNALS)
def test_grpc_is_configured_as_the_sdks_exporter(
    environ: dict[str, str], signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        if value:  # the SDK takes an empty endpoint for a target with an empty name
            monkeypatch.setenv(name, value)
    theirs = GRPC_EXPORTERS[signal]()
    theirs.shutdown()
    ours = from_env(environ | GRPC).endpoints[signal]
    gzip = theirs._compression == grpc.Compression.Gzip
    assert (ours.address, ours.secure) == (theirs._endpoint, not theirs._insecure)
    assert (ours.timeout, ours.compression) == (theirs._timeout, "gzip" if gzip else "none")
    assert plain(ours.headers) == dict(theirs._headers)


@pytest.mark.parametrize("environ", ENVIRONMENTS + HTTP_ONLY, ids=str)
@pytest.mark.parametrize("signal", SIGNALS)
def test_http_is_configured_as_the_sdks_exporter(
    environ: dict[str, str], signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    theirs = HTTP_EXPORTERS[signal]()
    theirs.shutdown()
    ours = from_env(environ | HTTP).endpoints[signal]
    assert (ours.protocol, ours.address) == ("http/protobuf", theirs._endpoint)
    assert ours.timeout == theirs._client._timeout
    assert ours.compression == theirs._compression.value
    set_by_user = {
        name: value
        for name, value in theirs._client._headers.items()
        if name not in ALWAYS or name + "=" in environ.get(P + "HEADERS", "")
    }
    assert plain(ours.headers) == set_by_user


@pytest.mark.parametrize("name", ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"])
@pytest.mark.parametrize("protocol", [HTTP, GRPC], ids=str)
def test_certificates_are_files_by_signal_or_for_all(name: str, protocol: dict[str, str]) -> None:
    both = {P + "CLIENT_CERTIFICATE": "c.pem", P + "CLIENT_KEY": "k.pem"}
    endpoints = from_env(both | protocol | {P + name: "all.pem", f"{P}LOGS_{name}": "logs.pem"}).endpoints
    assert [getattr(endpoints[signal], name.lower()) for signal in SIGNALS] == ["all.pem", "all.pem", "logs.pem"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {P + "PROTOCOL": "grpc"},
        {P + "PROTOCOL": " http/protobuf "},
        {P + "LOGS_PROTOCOL": "http/protobuf"},
        {P + "PROTOCOL": "http/protobuf", P + "TRACES_PROTOCOL": "grpc"},
    ],
    ids=str,
)
def test_the_protocol_is_the_one_that_the_sdk_would_take(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    names = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
    ours = from_env(environ).endpoints
    assert [names[ours[signal].protocol] for signal in SIGNALS] == [entry_point("otlp", signal) for signal in SIGNALS]


@given(st.text(st.sampled_from('aB1-_!%20=, \t;"é~'), max_size=30))
def test_headers_are_parsed_as_the_sdk_parses_them(text: str) -> None:
    """What the SDK takes whole, we take alike; where it warns and skips a pair, or the wire cannot, we refuse."""
    logging.disable(logging.CRITICAL)
    theirs = dict(parse_env_headers(text, liberal=True))
    logging.disable(logging.NOTSET)
    try:
        ours = plain(from_env(HTTP | {P + "HEADERS": text}).endpoints["logs"].headers)
    except ConfigError:
        return
    assert ours == theirs


def test_user_and_password_of_a_url_become_a_header_as_with_the_sdks_client() -> None:
    endpoint = from_env(HTTP | {P + "ENDPOINT": "https://me:p%40ss@collector:4318"}).endpoints["traces"]
    assert endpoint.address == "https://collector:4318/v1/traces"
    assert plain(endpoint.headers) == {"authorization": "Basic bWU6cEBzcw=="}


@pytest.mark.parametrize(
    ("environ", "takes"),
    [
        ({P + "PROTOCOL": "http/json"}, "grpc or http/protobuf"),
        ({P + "LOGS_PROTOCOL": "GRPC"}, "grpc or http/protobuf"),
        ({P + "TIMEOUT": "10s"}, "seconds above 0"),
        ({P + "TRACES_TIMEOUT": "0"}, "seconds above 0"),
        ({P + "TIMEOUT": "nan"}, "seconds above 0"),
        ({P + "TIMEOUT": "-1"}, "seconds above 0"),
        ({P + "COMPRESSION": "zstd"}, "none or gzip with grpc"),
        ({P + "METRICS_COMPRESSION": "deflate"}, "none or gzip with grpc"),
        (HTTP | {P + "COMPRESSION": "zstd"}, "none or gzip or deflate with http/protobuf"),
        ({P + "INSECURE": "yes"}, "true or false"),
        ({P + "ENDPOINT": "http://[::1"}, "a URL such as http://localhost:4317"),
        (HTTP | {P + "ENDPOINT": "localhost:4318"}, "a URL such as http://localhost:4318"),
        (HTTP | {P + "LOGS_ENDPOINT": "http://collector:port"}, "a URL such as http://localhost:4318"),
        (HTTP | {P + "ENDPOINT": "http://"}, "a URL such as http://localhost:4318"),
        (HTTP | {P + "CLIENT_KEY": "key.pem"}, "a key whose certificate CLIENT_CERTIFICATE names"),
        ({P + "LOGS_CLIENT_KEY": "key.pem"}, "a key whose certificate CLIENT_CERTIFICATE names"),
        ({P + "CLIENT_CERTIFICATE": "cert.pem"}, "a certificate whose key CLIENT_KEY names"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=1,b"}, "key=value pairs"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "=1"}, "key=value pairs"),
    ],
    ids=str,
)
def test_a_wrong_value_names_the_variable_and_what_it_takes(environ: dict[str, str], takes: str) -> None:
    with pytest.raises(ConfigError, match=takes) as caught:
        from_env(environ)
    *_, wrong = environ
    assert str(caught.value).startswith(wrong)


SECRET = "hunter2"  # noqa: S105 - the secret that must not be seen


@pytest.mark.parametrize(
    "environ",
    [
        {P + "HEADERS": f"authorization={SECRET};x"},
        {P + "HEADERS": f"a=b,{SECRET}"},
        {P + "HEADERS": f"a={SECRET}%0d%0aevil:%20yes"},
        {P + "HEADERS": f"a={SECRET}%C3%A9"},
        {P + "HEADERS": f"a-bin={SECRET}"},
        {P + "HEADERS": f"%20a%20b={SECRET}"},
        {P + "ENDPOINT": f"http://me:{SECRET}@collector:4317"},
        HTTP | {P + "ENDPOINT": f"ftp://me:{SECRET}@collector:4317"},
        HTTP | {P + "ENDPOINT": f"http://me:{SECRET}@collector:port"},
    ],
    ids=lambda environ: str(environ).replace(SECRET, "*"),
)
def test_no_error_shows_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_env(environ)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


def test_no_repr_shows_a_header() -> None:
    config = from_env({P + "HEADERS": f"authorization={SECRET}"})
    assert config.endpoints["traces"].headers["authorization"].reveal() == SECRET
    for shown in (repr(config), str(config), f"{config.endpoints['logs'].headers['authorization']}"):
        assert SECRET not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=there, k8s.pod.name = a%20b ,x="},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=there,a=b=c", "OTEL_SERVICE_NAME": "wins"},
        {"OTEL_RESOURCE_ATTRIBUTES": "telemetry.sdk.name=other,service.name=x"},
    ],
    ids=str,
)
def test_the_resource_is_the_sdks(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    theirs = {key: value for key, value in Resource.create().attributes.items() if key != "service.instance.id"}
    assert from_env(environ).resource == theirs


def test_without_a_name_the_service_is_otel_events() -> None:
    assert from_env({}).resource["service.name"] == "otel_events"
    assert from_env({"OTEL_RESOURCE_ATTRIBUTES": "service.name=,"}).resource["service.name"] == "otel_events"
