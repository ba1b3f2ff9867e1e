"""The API server's own protocol, as one of its users: one call, one answer. Knows no kind of object."""

from __future__ import annotations

import json
import ssl
from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from select import select
from threading import Lock
from typing import Any
from urllib.parse import urlencode

JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    code: int
    body: Any
    """The object, or the text where it is no JSON."""
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """It was done."""
        return self.code < 300

    @property
    def message(self) -> str:
        """Why it was not done."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)

    @property
    def causes(self) -> dict[str, list[str]]:
        """Every mistake that was found, by the field."""
        found: dict[str, list[str]] = defaultdict(list)
        for cause in self.body.get("details", {}).get("causes", ()):
            found[cause.get("field", "")].append(cause["message"])
        return dict(found)


class Rest:
    """Requests of one user, one after another."""

    def __init__(self, port: int, context: ssl.SSLContext, token: str) -> None:
        self._connection = HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)
        self._token = token
        self._one_at_a_time = Lock()

    def __del__(self) -> None:
        self._connection.close()

    def __call__(self, method: str, path: str, body: Any = None, kind: str = JSON, **query: str) -> Answer:
        """Ask once.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: the path, from its slash.
            body: an object, or a text that is sent as it stands.
            kind: the body's media type.
            query: parameters of the request, such as dryRun="All".
        """
        headers = {"Authorization": f"Bearer {self._token}", "Accept": JSON, "Content-Type": kind}
        sent = body if isinstance(body, str) or body is None else json.dumps(body, allow_nan=False)
        with self._one_at_a_time:
            response, text = self._ask(method, f"{path}?{urlencode(query)}" if query else path, sent, headers)
        is_json = response.headers.get_content_type() == JSON
        return Answer(response.status, json.loads(text) if is_json else text, tuple(response.headers.get_all("Warning") or ()))

    def _ask(self, method: str, path: str, sent: str | None, headers: dict[str, str]) -> tuple[HTTPResponse, str]:
        if self._connection.sock is not None and select([self._connection.sock], [], [], 0)[0]:
            self._connection.close()  # it says something unasked: that it is gone, since the API server was started anew
        try:
            self._connection.request(method, path, sent and sent.encode(), headers)
            response = self._connection.getresponse()
            return response, response.read().decode()
        except BaseException:
            self._connection.close()
            raise
