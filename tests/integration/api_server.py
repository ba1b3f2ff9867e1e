"""A real API server for a session of tests: etcd and kube-apiserver on 127.0.0.1, with RBAC and an audit log.

There are no controllers and no kubelets: nothing collects orphans, fills endpoints or starts pods.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

from integration.audit import POLICY, AuditEvent, AuditLog
from integration.credentials import ADMIN, Credentials
from integration.processes import Server, free_port
from integration.programs import Programs
from integration.rest import Rest
from local_job import until

READY_SECONDS = 120.0
"""A machine may be busy; alone, it takes a few seconds."""


class ApiServer:
    """Starts on the first `start`; `stop` leaves etcd running, so that nothing that was stored is lost."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.folder = folder
        self.credentials = Credentials(folder)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.context = ssl.create_default_context(cafile=str(self.credentials.certificate))
        self._programs = programs
        self._audit = AuditLog(folder / "audit.log")
        self._policy = folder / "audit-policy.json"
        self._policy.write_text(json.dumps(POLICY))
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._etcd: Server | None = None
        self._server: Server | None = None

    # --- its life ---

    def start(self) -> None:
        """Start it, and wait until it is ready for requests. Its address is the same each time."""
        assert self._server is None, "it runs already"
        if self._etcd is None:
            self._etcd = self._run("etcd", self._programs.etcd, self._etcd_flags())
            until("etcd is healthy", self._etcd_is_healthy, READY_SECONDS)
        self._audit.reborn()
        self._server = self._run("kube-apiserver", self._programs.kube_apiserver, self._server_flags())
        until("the API server is ready", self._is_ready, READY_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it: every connection breaks. etcd goes on."""
        assert self._server is not None, "it does not run"
        self._server.stop(number)
        self._server = None

    def restart(self) -> None:
        """End it and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End everything."""
        for server in (self._server, self._etcd):
            if server is not None:
                server.stop()
        self._server = self._etcd = None

    # --- its users ---

    def rest(self, user: str = ADMIN) -> Rest:
        """The protocol, as this user."""
        return Rest(self.port, self.context, self.token(user))

    def token(self, user: str = ADMIN) -> str:
        """A user's bearer token. A name such as system:serviceaccount:team:trainer is a service account, which must exist."""
        if user in self.credentials.tokens:
            return self.credentials.tokens[user]
        _, _, namespace, account = user.split(":")
        answer = self.rest()("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", {"spec": {}})
        assert answer.ok, answer.message
        return str(answer.body["status"]["token"])

    def kubeconfig(self, user: str = ADMIN, server: str | None = None) -> Path:
        """A kubeconfig of this user, for this server or for one that stands before it."""
        return self.credentials.kubeconfig(user, self.token(user), server or self.url)

    # --- what it was asked ---

    def mark(self) -> int:
        """Now, for `audit`."""
        return self._audit.mark()

    def audit(self, since: int = 0) -> list[AuditEvent]:
        """Every request for a resource since a mark, in their order, with the answers to all that had one."""
        until("all requests are answered", lambda: not self._audit.unanswered(since))
        return self._audit.events(since)

    # --- how it is started ---

    def _run(self, name: str, program: Path, flags: list[str]) -> Server:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return Server([program, *flags], self.folder / f"{name}.out", environ)

    def _etcd_flags(self) -> list[str]:
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--logger=zap",
        ]

    def _server_flags(self) -> list[str]:
        own = self.credentials
        return [
            f"--etcd-servers={self._etcd_url}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={own.certificate}",
            f"--tls-private-key-file={own.private_key}",
            f"--token-auth-file={own.token_file}",
            "--service-account-issuer=https://tests.invalid",
            f"--service-account-key-file={own.account_key}",
            f"--service-account-signing-key-file={own.account_key}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",  # as kubeadm has it
            f"--audit-policy-file={self._policy}",
            f"--audit-log-path={self._audit.path}",
            "--audit-log-maxsize=10000",  # megabytes: a mark is a place in one file
            "--profiling=false",
        ]

    def _etcd_is_healthy(self) -> bool:
        assert self._etcd is not None
        self._etcd.lives()
        connection = HTTPConnection(self._etcd_url.removeprefix("http://"), timeout=5)
        with suppress(OSError), closing(connection):
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        return False

    def _is_ready(self) -> bool:
        assert self._server is not None
        self._server.lives()
        with suppress(OSError):
            return self.rest()("GET", "/readyz").code == 200
        return False
