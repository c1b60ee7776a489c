"""A loopback web server whose answers a test writes down, and which remembers what it was asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to send. `cut` closes the connection after that many bytes of the body; `raw` replaces all."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    raw: bytes | None = None


Maker = Answer | Callable[[Asked], Answer]


class Web:
    """`web.answers[path]` is an Answer, a function of the request, or a list of these used up in turn.

    A path without an answer gets `web.otherwise`.
    """

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.port = server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.answers: dict[str, Maker | list[Maker]] = {}
        self.otherwise: Maker = Answer(404, b"nothing here")
        self.asked: list[Asked] = []

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        made = self.answers.get(asked.path, self.otherwise)
        if isinstance(made, list):
            made = made.pop(0) if len(made) > 1 else made[0]
        return made if isinstance(made, Answer) else made(asked)


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.web.answer(Asked(self.command, self.path, headers, self.rfile.read(length)))
        self.close_connection = True
        if answer.raw is not None:
            self.wfile.write(answer.raw)
            return
        self.send_response(answer.status)
        fields = {"Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(answer.body[: answer.cut])

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_CONNECT = handle_any

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server on a free loopback port, with TLS if a server context is given."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients of these tests hang up early
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Handler.web = Web(server, "http" if context is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Handler.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
