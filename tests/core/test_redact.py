"""No secret reaches disk or wire, and nothing else is lost: by name, by shape, in text, in JSON, in protobuf."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flyteidl.admin import event_pb2
from hypothesis import given
from hypothesis import strategies as st

from otel_events.core import redact
from otel_events.model.event import REDACTED, AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Stat
from otel_events.model.identity import traceparent

RUN = Run("prefect", "task", "u1", "extract", "u0", "u0", 0, "", "etl", "workflow")
HEX = "0123456789abcdef" * 2
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nabc/+=\n-----END RSA PRIVATE KEY-----"
AWS, GITHUB, SLACK = "AKIA" + "Z2" * 8, "ghp_" + "a1B2" * 9, "xoxb-" + "1234567890-abc"

SECRETS: list[tuple[str, str]] = [
    ("password=hunter2", "password=[redacted]"),
    ("PASSWD: hunter2, next", "PASSWD: [redacted], next"),
    ("db_password = 'my secret pass' rest", "db_password = '[redacted]' rest"),
    ("DB_PASSWORD=12345678", "DB_PASSWORD=[redacted]"),
    ("password= TOKEN: x1, secret=password=y", "password= TOKEN: [redacted], secret=password=[redacted]"),
    ("passphrase=>x;y", "passphrase=>[redacted];y"),
    ('{"password": "a b", "user": "bob"}', '{"password": "[redacted]", "user": "bob"}'),
    (r'{"password": "pa\"ss", "user": "bob"}', '{"password": "[redacted]", "user": "bob"}'),
    (r'"{\"api_key\": \"a b c\", \"n\": 1}"', r'"{\"api_key\": \"[redacted]\", \"n\": 1}"'),
    (r"{\\\"token\\\":\\\"a b\\\"}", r"{\\\"token\\\":\\\"[redacted]\\\"}"),
    ('{"token": "cut off in the mid', '{"token": "[redacted]'),
    ('{"tokens": ["abc", "def"], "n": 1}', '{"tokens": [redacted], "n": 1}'),
    ('{"credentials": {"user": "a", "key": {"b": 1}}, "n": 1}', '{"credentials": [redacted], "n": 1}'),
    ("{'aws_secret_access_key': 'abc/def+g'}", "{'aws_secret_access_key': '[redacted]'}"),
    ("AWS_ACCESS_KEY_ID=abc", "AWS_ACCESS_KEY_ID=[redacted]"),
    ("GET /x?api-key=abc&n=1", "GET /x?api-key=[redacted]&n=1"),
    ("private.key=abc", "private.key=[redacted]"),
    ("https://b/o?X-Amz-Signature=0a1b&x=1", "https://b/o?X-Amz-Signature=[redacted]&x=1"),
    ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
    ("authorization=Negotiate YII", "authorization=Negotiate [redacted]"),
    ("curl -H 'bearer abcdef1234'", "curl -H 'bearer [redacted]'"),
    ("sent Basic dXNlcjpwYXNz to it", "sent Basic [redacted] to it"),
    ("Cookie: a=b; c=d\nHost: x", "Cookie: [redacted]\nHost: x"),
    ('"Set-Cookie": "sid=1; Path=/"', '"Set-Cookie": "[redacted]"'),
    ("postgres://bob:hunter2@db/x", "postgres://[redacted]@db/x"),
    ("postgres://bob:p@ss:w@db/x", "postgres://[redacted]@db/x"),
    ("redis://:hunter2@cache:6379/0", "redis://[redacted]@cache:6379/0"),
    (f"SENTRY_DSN=https://{HEX}@o1.sentry/2", "SENTRY_DSN=[redacted]"),
    (f"https://{HEX}@host/x", "https://[redacted]@host/x"),
    (f"got {JWT} here", "got [redacted] here"),
    (f"id {AWS}.", "id [redacted]."),
    (f"{GITHUB}, {SLACK}", "[redacted], [redacted]"),
    (f"key:\n{PEM}\nend", "key:\n[redacted]\nend"),
    (PEM[:50], "[redacted]"),
    (f"password= {PEM}, next", "password= [redacted], next"),
    (f"secret: {PEM[:50]}", "secret: [redacted]"),
    (f"Cookie: {PEM}", "Cookie: [redacted]"),
]

HARMLESS = [
    "",
    "all is well",
    "max_tokens=512",
    '{"max_tokens": 512, "tokens": "1,024", "tokens_per_second": 12.5e3}',
    "tokens: [101, 2023, 102]",
    "tokenizer=bert-base-uncased",
    "tokenization: byte pair",
    "basic validation of the bearer instrument",
    "s3://bucket/flyte/key/data.pb",
    "https://host:8080/a@b",
    "ssh://git@github.com/x",
    "mail bob@example.com: 5 records",
    "records: 5, fieldsnumber=7",
    "password=",
    '{"password": "", "user": "bob"}',
    "eyJust a word.",
    "12:00:01 key",
]


@pytest.mark.parametrize(("text", "clean"), SECRETS)
def test_a_secret_in_text(text: str, clean: str) -> None:
    assert redact.text(text) == clean
    assert redact.text(clean) == clean, "doing it twice changes nothing more"
    assert redact.suspicious(text.encode())
    assert redact.suspicious(text.swapcase().encode()) or "eyJ" in text or "://" in text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact.text(text) == text
    assert redact.mask(text.encode()) == text.encode()


PIECES = [
    *(text for text, _ in SECRETS),
    *HARMLESS,
    *(
        "password",
        "token",
        "Secret",
        "dsn",
        "cookie",
        "api_key",
        "=",
        ":",
        " ",
        '"',
        "'",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
    ),
    *(
        "bearer ",
        "Basic ",
        "://",
        "@",
        "eyJ",
        ".",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "\n",
        "\u212a",
        "\u017f",
        "é",
        "5",
    ),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)


@given(texts)
def test_the_screen_is_never_sure_of_a_text_that_would_change(text: str) -> None:
    clean = redact.text(text)
    if clean != text:
        assert redact.suspicious(text.encode("utf-8", "surrogatepass"))
    assert redact.text(clean) == clean


@given(st.sampled_from([text for text, _ in SECRETS]), texts)
def test_case_folding_of_other_scripts_hides_and_makes_nothing(secret: str, around: str) -> None:
    # The Kelvin sign folds to k and the long s to s, in Unicode but not in bytes: neither is a letter of a name.
    odd = secret.replace("k", "\u212a").replace("s", "\u017f")
    if redact.text(around + odd) != around + odd:
        assert redact.suspicious((around + odd).encode("utf-8", "surrogatepass"))


# --- attributes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        *(
            "password",
            "db.passwd",
            "HF_TOKEN",
            "client_secret",
            "apiKey",
            "api-key",
            "aws.access_key_id",
            "private key",
        ),
        *("http.request.header.authorization", "gcp.credentials", "Set-Cookie", "sentryDsn", "SENTRY_DSN", "dsn"),
    ],
)
def test_an_attribute_with_a_secret_name(key: str) -> None:
    assert redact.attributes({key: "anything at all", "n": 1}) == {key: REDACTED, "n": 1}


def test_numbers_and_booleans_are_never_secrets() -> None:
    numbers: dict[str, Any] = {"max_tokens": 512, "token": True, "password": 5, "secret.share": 0.5}
    assert redact.attributes(numbers) is numbers
    counted: dict[str, Any] = {"max_tokens": "512", "tokens_per_second": "1.5e3", "password": ""}
    assert redact.attributes(counted) is counted
    assert redact.attributes({"password": "512", "token_password": "512"}) == {
        "password": REDACTED,
        "token_password": REDACTED,
    }


def test_names_that_only_look_like_one() -> None:
    harmless: dict[str, Any] = {"tokenizer": "bert", "fieldsname": "x", "records_n": "y", "flyte.node_id": "n0"}
    assert redact.attributes(harmless) is harmless


def test_values_of_harmless_names_are_looked_into() -> None:
    assert redact.attributes({"command": "run --password=x"}) == {"command": "run --password=[redacted]"}


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))
def test_a_trace_context_is_untouched(trace: bytes, span: bytes) -> None:
    context: dict[str, Any] = {
        "traceparent": traceparent(trace, span),
        "otel_events.parent.traceparent": traceparent(trace, span),
    }
    assert redact.attributes(context) is context


# --- events ---------------------------------------------------------------------------------------------------------

CANARY = "hunter2"
SAID = f"password={CANARY}"
EVENTS: list[AnyEvent] = [
    PhaseChange(
        id="1",
        time=1,
        run=RUN,
        phase="failed",
        native=SAID,
        reason=SAID,
        error=Error(SAID, SAID, "user", SAID),
        attributes={"password": CANARY, "said": SAID},
    ),
    Stat(id="2", time=1, run=RUN, name=SAID, value=1.0, tags={"token": CANARY, "said": SAID}),
    Log(id="3", time=1, run=RUN, message=SAID, logger=SAID, event_name=SAID),
    Report(id="4", time=1, run=RUN, name=SAID, uri=SAID, content=SAID),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_no_field_of_an_event_keeps_a_secret(event: AnyEvent) -> None:
    before = repr(event)
    clean = redact.event(event)
    assert CANARY not in repr(clean)
    assert REDACTED in repr(clean)
    assert repr(event) == before, "the caller's own event is not changed"
    assert (clean.id, clean.time, clean.run) == (event.id, event.time, event.run)
    assert redact.events([event, event]) == [clean, clean]


def test_an_event_without_secrets_is_handed_on_as_it_is() -> None:
    event = PhaseChange(id="1", time=1, run=RUN, phase="failed", native="Failed", error=Error("ValueError", "no"))
    assert redact.event(event) is event


def test_ids_and_names_lose_what_shows_its_shape_and_stay_distinct() -> None:
    def of(table: str) -> Log:
        where = f"postgres://bob:{CANARY}@db/{table}"
        run = Run("prefect", "task", where, where, where, where, 0, where, where)
        return Log(id=where, time=1, run=run, message="", links=(Link("follows", where, "task", where),))

    first, second = redact.event(of("a")), redact.event(of("b"))
    assert CANARY not in repr(first)
    assert (first.run.id, first.run.root, first.id) == ("postgres://[redacted]@db/a",) * 3
    assert first.links[0].id == first.run.id != second.run.id


def test_ids_that_only_read_like_a_pair_stay() -> None:
    run = msgspec.structs.replace(RUN, id="p/d/x/n0/get_token", name="get_token")
    event = PhaseChange(id="p:d:x:n0:get_token:v1:0:RUNNING:0:123", time=1, run=run, phase="running", native="RUNNING")
    assert redact.event(event) is event


# --- records --------------------------------------------------------------------------------------------------------


def task_record(reason: str, message: str, uri: str) -> event_pb2.TaskExecutionEventRequest:
    request = event_pb2.TaskExecutionEventRequest()
    event = request.event
    event.task_id.name, event.task_id.version, event.retry_attempt = "train", "v1", 2
    event.parent_node_execution_id.node_id = "n0"
    event.parent_node_execution_id.execution_id.name = "x"
    event.occurred_at.FromNanoseconds(1_767_225_600_123_456_789)
    event.reason, event.error.message, event.error.code, event.phase = reason, message, "USER", 5
    log = event.logs.add()
    log.uri, log.name = uri, "logs"
    event.custom_info["note"] = reason
    return request


def shape(message: Any) -> Any:
    """A message with each text as its length: what masking must leave as it was."""
    if isinstance(message, str | bytes):
        return len(message)
    if hasattr(message, "ListFields"):
        return [(field.number, shape(value)) for field, value in message.ListFields()]
    if hasattr(message, "items"):
        return {key: shape(value) for key, value in message.items()}
    return [shape(part) for part in message] if hasattr(message, "__len__") else message


@given(*[st.lists(st.sampled_from([text for text, _ in SECRETS] + HARMLESS), max_size=4).map(" ".join)] * 3)
def test_a_masked_protobuf_record_still_parses_and_holds_no_secret(reason: str, message: str, uri: str) -> None:
    original = task_record(reason, message, uri)
    masked = redact.mask(original.SerializeToString())
    back = event_pb2.TaskExecutionEventRequest.FromString(masked)
    assert shape(back) == shape(original)
    assert back.event.occurred_at == original.event.occurred_at
    for secret in (b"hunter2", JWT.encode(), AWS.encode(), GITHUB.encode(), b"MIIE", HEX.encode()):
        assert secret not in masked


def test_a_field_next_to_a_secret_is_left_alone() -> None:
    # 50 characters after: the tag and the length of the next field are printable and would pass for text.
    record = b"\x22\x10password=hunter2" + b"\x2a\x32" + b"x" * 50 + b"\x32\x05after"
    assert redact.mask(record) == record.replace(b"hunter2", b"*******")


def test_text_is_masked_at_equal_length() -> None:
    record = '{"password": "a b", "é": "postgres://u:p@h/x"}'.encode()
    masked = redact.mask(record)
    assert masked == '{"password": "***", "é": "postgres://***@h/x"}'.encode()
    assert len(masked) == len(record)


@given(st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_record_can_be_masked(record: bytes) -> None:
    masked = redact.mask(record)
    assert len(masked) == len(record)
    assert all(new in (old, 42) for new, old in zip(masked, record, strict=True))


def test_messages_nested_without_end_are_masked_as_text() -> None:
    record = b"password=hunter2"
    for _ in range(60):
        record = b"\x0a" + bytes([len(record) & 127 | 128, len(record) >> 7]) + record
    assert b"hunter2" not in redact.mask(record)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        *(("", again) for again in ("a1b2c3d4", "token", "eyJ-", "-----BEGIN ", "://a", "secret: {", "password: '")),
        *(("", again) for again in ("token\\\\\\", "bearer aaaaaaaa", "token: [", "cookie:")),
        *(("token", " "), ("eyJ", "a")),
    ],
)
def test_no_text_costs_the_square_of_its_length(start: str, again: str) -> None:
    """It ends: a square that takes a second for 100 kB takes longer for 3 MB than a test may."""
    redact.text(start + again * (3_000_000 // len(again)))
