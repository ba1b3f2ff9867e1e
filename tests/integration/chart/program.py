"""The operator as the chart starts it: its command, its variables, its configuration and its permissions, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from chart.charts import Objects
from integration.api_server import ApiServer
from integration.chart.release import Release
from integration.processes import Server, free_port


class Program:
    """Runs until `close`."""

    def __init__(self, objects: Objects, made: Release, api_server: ApiServer, folder: Path) -> None:
        self.container = objects.container()
        self._port = free_port()
        self._config = folder / "config.json"
        self._config.write_text(objects.config())
        own = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(api_server.kubeconfig(made.account))}
        environ = self._told(made) | own | {"TRAININGJOB_OPERATOR_ADDRESS": "127.0.0.1"}
        python, *rest = self.container["command"]
        assert python == "python"
        self._server = Server([sys.executable, *rest], folder / "operator.log", environ)

    def _told(self, made: Release) -> dict[str, str]:
        """The container's variables, but for what is elsewhere on this machine."""
        here = {"TRAININGJOB_OPERATOR_CONFIG": str(self._config), "TRAININGJOB_OPERATOR_PORT": str(self._port)}
        pod = {"metadata.namespace": made.namespace, "metadata.name": "operator-0"}
        told = {each["name"]: each.get("value") or pod[each["valueFrom"]["fieldRef"]["fieldPath"]] for each in self.container["env"]}
        assert told.keys() >= here.keys()
        return told | here

    def passes(self, probe: str) -> bool:
        """The kubelet's question: startup, liveness or readiness."""
        assert self._server.lives()
        try:
            return bool(self.get(self.container[f"{probe}Probe"]["httpGet"]["path"]))
        except (HTTPError, OSError):
            return False

    def get(self, path: str) -> str:
        """What it answers over HTTP."""
        with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        """End it."""
        self._server.stop()
