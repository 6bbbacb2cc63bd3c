"""The server: on this machine alone, for those with the token, from its own pages; and the command."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bokeh", reason="the page needs Bokeh")

from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from fastdln.cli import stores
from fastdln.view.server import HOST
from tests.support.scans import program, words
from tests.support.views import ONE, made, serving

SPEC = ONE | {"name": "x</title>\x1b[31m", "record": {"times": 4, "observables": ["loss"]}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(SPEC, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Any]:
    with serving(store) as running:
        yield running


def ask(server: Any, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), dict(answer.getheaders())
    connection.close()
    return found


def hello(server: Any, path: str, protocols: list[str], origin: str | None) -> dict[str, Any] | None:
    """Open a websocket; return the first message, None where it was closed without one."""

    async def connect() -> dict[str, Any] | None:
        headers = {"Origin": origin} if origin else {}
        request = HTTPRequest(f"ws://{HOST}:{server.port}{path}", headers=headers)
        socket_ = await websocket_connect(request, subprotocols=protocols)
        message = await socket_.read_message()
        socket_.close()
        while message is not None and await socket_.read_message() is not None:
            pass  # until it is closed
        return None if message is None else json.loads(message)

    return asyncio.run(connect())


def session(server: Any) -> str:
    """Open the page; return what its websocket is opened with."""
    _, page, _ = ask(server, f"/{server.token}/")
    found = re.search(r'"token":"([^"]+)"', page)
    assert found is not None
    return found[1]


def test_the_page_is_there_for_those_with_the_token(server: Any):
    code, page, headers = ask(server, f"/{server.token}/")
    assert code == 200
    assert "<title>x&lt;/title&gt;\\x1b[31m - fastdln</title>" in page
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert len(server.token) >= 32
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):  # everything from here
        assert address.startswith(("data:", f"/{server.token}/static/", "static/")), address
    assert ask(server, f"/{server.token}/static/js/bokeh.min.js")[0] == 200


@pytest.mark.parametrize(
    "path", ["/", "/x/", "/{almost}/", "/static/js/bokeh.min.js", "/ws", "/{almost}/ws", "/x/{token}/", "//{token}/"]
)
def test_all_else_is_refused(server: Any, path: str):
    almost = server.token[:-1] + ("A" if server.token[-1] != "A" else "B")
    assert ask(server, path.format(token=server.token, almost=almost))[0] == 403


def test_other_origins_and_other_names_are_refused(server: Any):
    page = f"/{server.token}/"
    assert ask(server, page, Origin=f"http://{HOST}:{server.port}")[0] == 200
    for origin in ("http://example.org", f"http://{HOST}:{server.port + 1}", "null"):
        assert ask(server, page, Origin=origin)[0] == 403
    assert ask(server, page, Host=f"localhost:{server.port}")[0] == 200
    assert ask(server, page, Host=f"example.org:{server.port}")[0] == 403


def test_the_websocket_is_opened_by_the_page_alone(server: Any):
    own, page = f"http://{HOST}:{server.port}", session(server)
    answer = hello(server, f"/{server.token}/ws", ["bokeh", page], own)
    assert answer is not None
    assert answer["msgtype"] == "ACK"
    for path, origin in (
        ("/ws", own),
        (f"/{server.token[:-1]}/ws", own),
        (f"/{server.token}/ws", "http://example.org"),
    ):
        with pytest.raises(HTTPClientError, match="403"):
            hello(server, path, ["bokeh", session(server)], origin)
    forged = generate_jwt_token(generate_session_id())
    assert hello(server, f"/{server.token}/ws", ["bokeh", forged], own) is None


def test_it_listens_on_the_loopback_alone(server: Any):
    with socket.create_connection((HOST, server.port), timeout=5):
        pass
    for other in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
        if other != HOST:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((other, server.port), timeout=5)


def test_the_command(store: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", "from fastdln.cli import main; main()", "view", str(store), "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"x</title>\\x1b\[31m: http://127\.0\.0\.1:(\d+)(/[\w-]{32,}/)\n", line)
    assert found is not None
    assert process.stdout.readline() == "Ctrl-C ends this\n"
    connection = http.client.HTTPConnection(HOST, int(found[1]), timeout=30)
    connection.request("GET", found[2])
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_cannot_be_shown_is_said(store: Path, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch):
    answer = program("view", tmp_path, "--no-browser")
    assert (answer.code, words(answer.err)) == (1, f"fastdln: {tmp_path} is no store of a fastdln scan")
    answer = program("view", store, "--no-browser", "--port", server.port)
    assert answer.code == 1
    assert "in use" in answer.err
    monkeypatch.setattr(stores, "find_spec", lambda name: None if name == "bokeh" else name)
    answer = program("view", store, "--no-browser")
    assert answer.code == 2
    assert "this needs bokeh: python -m pip install" in words(answer.err)
    assert "[view]" in answer.err
