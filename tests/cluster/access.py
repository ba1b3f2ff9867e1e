"""Ways into the cluster from the machine: relays on its loopback, a kubeconfig, and what to export."""

from __future__ import annotations

import shlex
from pathlib import Path

from cluster import layout
from cluster.commands import in_network, run
from cluster.layout import ADMIN, API_URL, AUDIT_LOG, CONTROL, ENVIRONMENT, KUBECONFIG, LOOPBACK_API_PORT, LOOPBACK_S3_PORT
from cluster.processes import Process, start

S3_SERVICE = "s3.s3.svc:7070"
S3_KEYS = ("trainingjob", "trainingjob-secret")
S3_BUCKET = "trainingjob"


def relay(name: str, port: int, target: str) -> Process:
    """Listen on the machine's loopback, and carry every connection to an address in the cluster's network."""
    # A colon would begin socat's next parameter.
    enter = " ".join(str(word) for word in in_network(CONTROL, ["socat", "STDIO", f"TCP:{target}"])).replace(":", r"\:")
    return start(f"relay-{name}", ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=128", f"EXEC:{enter}"])


def relay_api() -> Process:
    """The API server, on the loopback."""
    return relay("api", LOOPBACK_API_PORT, API_URL.removeprefix("https://"))


def relay_s3(programs: Path) -> Process:
    """The S3 server, on the loopback."""
    return relay("s3", LOOPBACK_S3_PORT, f"{service_address(programs, 's3', 's3')}:7070")


def service_address(programs: Path, namespace: str, name: str) -> str:
    """The address of a Service, which is one for its whole life."""
    return kubectl(programs, "get", "service", "-n", namespace, name, "-o", "jsonpath={.spec.clusterIP}").strip()


def write_kubeconfig() -> None:
    """Write the administrator's kubeconfig with the loopback's address."""
    text = ADMIN.read_text().replace(API_URL, f"https://127.0.0.1:{LOOPBACK_API_PORT}")
    KUBECONFIG.touch(mode=0o600)
    KUBECONFIG.write_text(text)


def kubectl(programs: Path, *argv: object, stdin: str | None = None, config: Path = KUBECONFIG, timeout: float = 120) -> str:
    """Run kubectl as the administrator."""
    return run([programs / "kubectl", f"--kubeconfig={config}", *argv], stdin=stdin, timeout=timeout)


def exports(programs: Path) -> str:
    """The lines for a shell that is to use the cluster."""
    values = {
        "KUBECONFIG": KUBECONFIG,
        "TRAININGJOB_CLUSTER_DIR": layout.STATE,
        "TRAININGJOB_CLUSTER_AUDIT_LOG": AUDIT_LOG,
        "TRAININGJOB_CLUSTER_S3_ENDPOINT": f"http://{S3_SERVICE}",
        "TRAININGJOB_CLUSTER_S3_LOOPBACK": f"http://127.0.0.1:{LOOPBACK_S3_PORT}",
        "TRAININGJOB_CLUSTER_S3_BUCKET": S3_BUCKET,
        "TRAININGJOB_CLUSTER_S3_ACCESS_KEY": S3_KEYS[0],
        "TRAININGJOB_CLUSTER_S3_SECRET_KEY": S3_KEYS[1],
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    return "\n".join([*lines, f'export PATH={shlex.quote(str(programs))}:"$PATH"']) + "\n"


def write_environment(programs: Path) -> None:
    """Keep those lines in a file of the state folder."""
    ENVIRONMENT.write_text(exports(programs))
