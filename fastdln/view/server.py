"""The server: on this machine alone, and for those who know the address.

The address holds a random token. Whatever is asked for without it (pages, files, the websocket) is refused, and so is
what comes from another origin, or by another name of this machine.
"""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import ErrorHandler, OutputTransform

from fastdln.view.page import build
from fastdln.view.reading import Reader

__all__ = ["HOST", "Server", "serve"]

HOST = "127.0.0.1"


class Server:
    """Hands the page out.

    Parameters
    ----------
    path : Path
        The folder of the store.
    port : int
        The port; 0 for one that is free.

    Raises
    ------
    StoreError
        If the store cannot be used.
    OSError
        If the port is taken.
    """

    def __init__(self, path: Path, port: int = 0) -> None:
        self.reader = Reader(path)
        self.token = secrets.token_urlsafe(24)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fastdln-view")
        listening = socket.create_server((HOST, port))
        listening.setblocking(False)
        self.port: int = listening.getsockname()[1]
        page = FunctionHandler(partial(build, reader=self.reader, worker=self._worker))
        origins = [f"{HOST}:{self.port}", f"localhost:{self.port}"]
        self._application = _Guarded(
            {"/": Application(page)}, prefix=self.token, extra_websocket_origins=origins, use_index=False,
            sign_sessions=True, secret_key=secrets.token_bytes(32),
        )  # fmt: skip
        self._application.guard(self.token, origins)
        self._http = HTTPServer(self._application)
        self._http.add_socket(listening)
        self._loop = IOLoop.current()
        self._server = BaseServer(self._loop, self._application, self._http)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def run(self, started: Callable[[], None]) -> None:
        """Serve until `stop` is called, or Ctrl-C comes.

        Parameters
        ----------
        started : callable
            Called once requests are answered.
        """
        self._server.start()
        self._loop.add_callback(started)
        try:
            self._loop.start()
        except KeyboardInterrupt:
            pass  # the way to end it
        finally:
            self._server.stop(wait=False)
            self._http.stop()
            self._worker.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        self._loop.add_callback(self._loop.stop)


def serve(path: Path, say: Callable[[str], None], *, port: int = 0, browser: bool = True) -> None:
    """Serve the page of a store until Ctrl-C.

    Parameters
    ----------
    path : Path
        The folder of the store.
    say : callable
        Hears the address.
    port : int
        The port; 0 for one that is free.
    browser : bool
        Open the page in the browser.
    """
    server = Server(path, port)

    def started() -> None:
        say(server.address)
        if browser:
            webbrowser.open(server.address)

    server.run(started)


class _Guarded(BokehTornado):
    """Answers only those who have the token."""

    def guard(self, token: str, hosts: list[str]) -> None:
        self._token, self._hosts = token, hosts
        self.add_transform(_Private)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        given = (request.path or "").split("/")[1:2]
        known = secrets.compare_digest("".join(given).encode(), self._token.encode())
        origin = request.headers.get("Origin")
        ours = origin is None or origin in [f"http://{host}" for host in self._hosts]
        if known and ours and request.host in self._hosts:
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})


class _Private(OutputTransform):
    """Lets nothing be fetched from elsewhere, and the address get nowhere."""

    def __init__(self, request: HTTPServerRequest) -> None:
        super().__init__(request)
        self._host = request.host

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers["Content-Security-Policy"] = (
            "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws://{self._host}; "
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        headers["Referrer-Policy"] = "no-referrer"
        headers["X-Content-Type-Options"] = "nosniff"
        return status_code, headers, chunk
