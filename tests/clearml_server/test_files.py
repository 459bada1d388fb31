"""The file server over HTTP: what is kept comes back, nothing leaves the folder, nothing acts in a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.api.access import Access
from otel_events.clearml_server.files import routes as files
from otel_events.clearml_server.files.folder import Bounds, FileError, Folder, parts
from otel_events.model.errors import ConfigError
from tests.clearml_server.running import running
from tests.patience import PATIENCE

KEY = ("key", "secret")


def client(url: str, auth: tuple[str, str] | None = KEY) -> httpx.Client:
    return httpx.Client(base_url=url, auth=auth, trust_env=False, timeout=PATIENCE)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "files", Bounds(total=10_000, file=4_000))


@pytest.fixture
def server(folder: Folder) -> Iterator[httpx.Client]:
    with running(files.create(folder, Access(dict([KEY]), b"k" * 32))) as url, client(url) as http:
        yield http


def put(http: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return http.post("/", files={name: (name, content, "text/html")})


def test_what_was_sent_comes_back(server: httpx.Client, folder: Folder) -> None:
    name = "proj/täsk.12/metrics/loss ü/train/a_0001.png"
    assert put(server, name, b"\x89PNG 1").json() == [name]
    assert put(server, "/" + name, b"\x89PNG 22").json() == [name]
    answer = server.get("/" + name)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"\x89PNG 22", "image/png")
    assert answer.headers["content-disposition"].startswith("inline")
    assert server.head("/" + name).headers["content-length"] == "7"
    part = server.get("/" + name, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert server.get("/" + name, params={"download": ""}).headers["content-disposition"].startswith("attachment")
    assert folder.used == 7


def test_several_files_of_one_form_and_fields_that_are_none(server: httpx.Client, folder: Folder) -> None:
    sent = {"a/1.txt": ("x", b"one"), "a/2.txt": ("y", b"two")}
    assert server.post("/", data={"note": "none"}, files=sent).json() == ["a/1.txt", "a/2.txt"]
    assert server.get("/a/2.txt").content == b"two"
    assert server.get("/note").status_code == 404
    assert folder.used == 6


@pytest.mark.parametrize(
    ("name", "kind", "how"),
    [
        ("x.html", "text/html; charset=utf-8", "attachment"),
        ("x.SVG", "image/svg+xml", "attachment"),
        ("x.pkl", "application/octet-stream", "attachment"),
        ("x", "application/octet-stream", "attachment"),
        ("x.json", "application/json", "inline"),
        ("x.txt", "text/plain; charset=utf-8", "inline"),
    ],
)
def test_types_are_by_the_table_and_cannot_act(server: httpx.Client, name: str, kind: str, how: str) -> None:
    put(server, name, b"<script>alert(1)</script>")
    headers = server.get("/" + name).headers
    assert headers["content-type"] == kind
    assert headers["content-disposition"].startswith(how)
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize("auth", [None, ("key", "wrong"), ("other", "secret")])
def test_only_those_who_may_call_the_api(server: httpx.Client, folder: Folder, auth: tuple[str, str] | None) -> None:
    put(server, "x.txt", b"x")
    with client(str(server.base_url), auth) as http:
        assert http.get("/").text == "OK"
        assert put(http, "y.txt", b"y").status_code == 401
        assert http.get("/x.txt").status_code == 401
        assert http.delete("/x.txt").status_code == 401
        assert http.post("/delete_many", json={"files": ["x.txt"]}).status_code == 401
    assert folder.find("x.txt") is not None
    assert folder.used == 1


def test_a_token_of_the_api_opens_it_too(folder: Folder) -> None:
    access = Access(dict([KEY]), b"k" * 32)
    token = access.login("Basic a2V5OnNlY3JldA==")[1]
    with running(files.create(folder, access)) as url, client(url, None) as http:
        assert http.get("/x", headers={"Authorization": f"Bearer {token}"}).status_code == 404
        assert http.get("/x", headers={"Cookie": f"clearml_token_basic={token}"}).status_code == 404


def test_a_page_under_another_name_is_turned_away(server: httpx.Client) -> None:
    assert server.get("/", headers={"Host": "evil.example:8081"}).status_code == 403


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "a/../../x", "a/./x", "..", "/", "", ".incoming/x", "a\x00b", "a\nb", "a" * 256, "a/" * 33 + "x"),
        *("/".join(["b" * 200] * 11), "/../../etc/passwd"),
    ],
)
def test_names_that_are_none(server: httpx.Client, folder: Folder, name: str) -> None:
    boundary = b'--b\r\nContent-Disposition: form-data; filename=x; name="%s"\r\n\r\nx\r\n--b--\r\n'
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    assert server.post("/", content=boundary % name.encode(), headers=head).status_code == 400
    with pytest.raises(FileError):
        folder.find(name)
    assert folder.used == 0
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("path", ["/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/a%0ab"])
def test_paths_that_lead_out(server: httpx.Client, path: str) -> None:
    assert server.get(path).status_code in (400, 404)
    assert server.delete(path).status_code in (400, 404)


def test_links_are_no_files(server: httpx.Client, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder.root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder.root / "out").symlink_to(tmp_path)
    assert server.get("/link.txt").status_code == 404
    assert server.get("/out/secret.txt").status_code == 404
    assert server.delete("/out/secret.txt").status_code == 404
    assert server.post("/delete_many", json={"files": ["out"]}).json()["errors"] == {"Not found": ["out"]}
    assert (tmp_path / "secret.txt").exists()


def test_sizes_are_bounded_and_room_is_given_back(server: httpx.Client, folder: Folder) -> None:
    assert put(server, "big.bin", bytes(4_001)).status_code == 413
    assert folder.used == 0
    for number in range(2):
        assert put(server, f"{number}.bin", bytes(4_000)).status_code == 200
    refused = put(server, "3.bin", bytes(4_000))
    assert refused.status_code == 507
    assert "--clearml-files-mib" in refused.json()["error"]
    assert folder.used == 8_000
    assert put(server, "0.bin", bytes(1_000)).status_code == 200  # what it replaces gives its room back
    assert folder.used == 5_000
    assert list((folder.root / ".incoming").iterdir()) == []
    assert Folder(folder.root).used == 5_000


def test_what_is_not_whole_is_not_kept(server: httpx.Client, folder: Folder) -> None:
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    start = b'--b\r\nContent-Disposition: form-data; filename=x; name="x.bin"\r\n\r\nhalf'
    for body in (start, b"", b"no form at all", b"--b\r\nA: " + b"x" * 9_000):
        assert server.post("/", content=body, headers=head).status_code == 400
    assert server.post("/", content=start, headers={"Content-Type": "text/plain"}).status_code == 400
    assert server.post("/", content=b"x", headers=head | {"Content-Encoding": "gzip"}).status_code == 415
    assert folder.used == 0
    assert list((folder.root / ".incoming").iterdir()) == []


def test_a_file_in_the_place_of_a_folder(server: httpx.Client, folder: Folder) -> None:
    put(server, "a/b.txt", b"1")
    assert put(server, "a", b"2").status_code == 409
    assert put(server, "a/b.txt/c", b"3").status_code == 409
    assert folder.used == 1


def test_deleting(server: httpx.Client, folder: Folder) -> None:
    for name in ("t/1.txt", "t/2.txt", "u/v/3.txt", "a b.txt"):
        put(server, name, b"12345")
    assert server.delete("/t/1.txt").json() == "t/1.txt"
    assert server.delete("/t/1.txt").status_code == 404
    assert server.delete("/t").status_code == 404
    answer = server.post("/delete_many", json={"files": ["a%20b.txt", "u", "gone", "", "../x"]}).json()
    assert answer["deleted"] == {"a%20b.txt": "a b.txt", "u": "u"}
    assert answer["errors"]["Not found"] == ["gone"]
    assert sum(len(names) for names in answer["errors"].values()) == 3
    assert folder.used == 5
    assert sorted(path.name for path in folder.root.iterdir()) == [".incoming", "t"]
    wrong: list[dict[str, object]] = [{}, {"files": []}, {"files": "x"}]
    for body in wrong:
        assert server.post("/delete_many", json=body).status_code == 400


def test_old_files_go(folder: Folder) -> None:
    for name, written in (("a/old.txt", 1_000), ("new.txt", 3_000)):
        upload = folder.upload()
        upload.write(b"123")
        upload.store(name)
        os.utime(folder.root / name, (written, written))
    under_way = folder.upload()
    assert folder.sweep(2_000) == 1
    assert (folder.find("a/old.txt"), folder.used) == (None, 3)
    assert folder.find("new.txt") is not None
    under_way.drop()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--clearml-files"):
        Folder(tmp_path / "file")


@given(st.text(max_size=60))
def test_no_name_leads_out(name: str) -> None:
    try:
        steps = parts(name)
    except FileError:
        return
    root = Path("/nowhere/files")
    path = Path(os.path.normpath(root.joinpath(*steps)))
    assert path.is_relative_to(root)
    assert path != root
    assert parts("/".join(steps)) == steps
