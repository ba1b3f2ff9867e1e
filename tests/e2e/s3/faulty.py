"""An S3 server with a fault: a proxy in front of a real one. It has the server's keys, and signs anew what it changes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
_OWN = ("authorization", "connection", "content-length", "date", "host", "transfer-encoding", "x-amz-date")

Refuses = Callable[[str, str], bool]
"""Whether a request (method, path) is answered 403."""


class FaultyS3:
    """Listens on a free port of the loopback while it is entered."""

    def __init__(self, server: Any, *, overwrites: bool = False, refuses: Refuses = lambda method, path: False) -> None:
        """`overwrites`: it does not know If-None-Match, as old servers do not."""
        self._upstream = urlsplit(server.endpoint)
        self._signer = S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", "us-east-1")
        self._overwrites = overwrites
        self._refuses = refuses
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.fired = 0
        """How often the fault has shown."""

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> FaultyS3:
        """Listen."""
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._listener.shutdown()
        self._listener.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """The server's answer, or the fault."""
        if self._refuses(method, urlsplit(path).path):
            self.fired += 1
            return 403, [("Content-Type", "application/xml")], DENIED
        if self._overwrites and headers.pop("if-none-match", None) is not None:
            self.fired += 1
        return self._forward(method, path, headers, body)

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        request = AWSRequest(method, f"{self._upstream.geturl()}{path}", headers, body)
        self._signer.add_auth(request)
        connection = http.client.HTTPConnection(self._upstream.netloc, timeout=30)
        try:
            connection.request(method, path, body, dict(request.headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in _OWN}
                status, answered, content = faulty.answer(self.command, self.path, headers, body)
                self.send_response_only(status)
                for name, value in answered:
                    if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                        self.send_header(name, value)
                length = next((value for name, value in answered if name.lower() == "content-length"), str(len(content)))
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        for method in ("DELETE", "GET", "HEAD", "POST", "PUT"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        return Handler
