"""etcd, the API server, the controller manager and the scheduler, all in the first node's network."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path

from cluster import layout
from cluster.commands import in_network, run, wait_for
from cluster.layout import ADMIN, API_PORT, CONTROL, NODES, PKI, STATE, Node
from cluster.processes import Process, must_run, start

ETCD_URL = "http://127.0.0.1:2379"
# Seconds after which a silent node counts as lost; it reports every quarter of the kubelet's lease duration.
NODE_GRACE = 12


def certificates(programs: Path, version: str) -> None:
    """Let kubeadm write the keys, and a kubeconfig for every part."""
    for node in NODES:
        node.folder.mkdir(parents=True, exist_ok=True)
        _config(node).write_text(_kubeadm_config(node, version))
    kubeadm, first = programs / "kubeadm", _config(CONTROL)
    run([kubeadm, "init", "phase", "certs", "all", "--config", first])
    run([kubeadm, "init", "phase", "kubeconfig", "all", "--config", first, "--kubeconfig-dir", ADMIN.parent])
    proxy = run([kubeadm, "kubeconfig", "user", "--client-name", "system:kube-proxy", "--config", first])
    for node in NODES:
        run([kubeadm, "init", "phase", "kubeconfig", "kubelet", "--config", _config(node), "--kubeconfig-dir", node.folder])
        (node.folder / "kube-proxy.conf").write_text(proxy)


def _config(node: Node) -> Path:
    return node.folder / "kubeadm.json"


def _kubeadm_config(node: Node, version: str) -> str:
    """Kubeadm reads YAML, of which JSON is a part; two documents in one file."""
    head = {"apiVersion": "kubeadm.k8s.io/v1beta4"}
    init = head | {
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": CONTROL.address, "bindPort": API_PORT},
        "nodeRegistration": {"name": node.name, "criSocket": f"unix://{node.containerd}"},
    }
    cluster = head | {
        "kind": "ClusterConfiguration",
        "kubernetesVersion": version,
        "certificatesDir": str(PKI),
        "encryptionAlgorithm": "ECDSA-P256",
        "controlPlaneEndpoint": f"{CONTROL.address}:{API_PORT}",
        "networking": {"serviceSubnet": layout.SERVICE_RANGE, "podSubnet": layout.POD_RANGE, "dnsDomain": layout.DNS_DOMAIN},
        "apiServer": {"certSANs": ["127.0.0.1", "localhost"]},
    }
    return f"{json.dumps(init)}\n---\n{json.dumps(cluster)}\n"


def begin(programs: Path) -> list[Process]:
    """Start etcd and the API server."""
    return [
        start("etcd", in_network(CONTROL, _etcd())),
        start("kube-apiserver", in_network(CONTROL, [programs / "kube-apiserver", *_api_server()])),
    ]


def begin_controllers(programs: Path) -> list[Process]:
    """Start what ends at once if the API server is not ready."""
    return [
        start("kube-controller-manager", in_network(CONTROL, [programs / "kube-controller-manager", *_controller_manager()])),
        start("kube-scheduler", in_network(CONTROL, [programs / "kube-scheduler", *_scheduler()])),
    ]


def wait_ready(started: list[Process]) -> None:
    """Wait until the API server says that it is ready."""

    def ready() -> bool:
        must_run(*started)
        return answers()

    wait_for("the API server is ready", ready, seconds=90)


def answers() -> bool:
    """Whether the API server is ready, asked over the machine's loopback."""
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"https://127.0.0.1:{layout.LOOPBACK_API_PORT}/readyz", timeout=3) as answer:
            return answer.status == 200
    except OSError:
        return False


def _etcd() -> list[object]:
    return [
        *("etcd", "--name=test", f"--data-dir={STATE / 'etcd'}", "--unsafe-no-fsync"),
        *(f"--listen-client-urls={ETCD_URL}", f"--advertise-client-urls={ETCD_URL}"),
        *("--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"),
        *("--initial-cluster=test=http://127.0.0.1:2380", "--logger=zap", "--log-level=warn"),
    ]


def _api_server() -> list[str]:
    client = f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt"
    return [
        *(f"--advertise-address={CONTROL.address}", f"--secure-port={API_PORT}", f"--etcd-servers={ETCD_URL}"),
        *(f"--service-cluster-ip-range={layout.SERVICE_RANGE}", "--authorization-mode=Node,RBAC"),
        *("--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"),
        *(f"--client-ca-file={PKI}/ca.crt", f"--tls-cert-file={PKI}/apiserver.crt", f"--tls-private-key-file={PKI}/apiserver.key"),
        *(client, f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key", "--kubelet-preferred-address-types=InternalIP"),
        *(f"--service-account-issuer=https://kubernetes.default.svc.{layout.DNS_DOMAIN}", f"--service-account-key-file={PKI}/sa.pub"),
        f"--service-account-signing-key-file={PKI}/sa.key",
        *(f"--proxy-client-cert-file={PKI}/front-proxy-client.crt", f"--proxy-client-key-file={PKI}/front-proxy-client.key"),
        *(f"--requestheader-client-ca-file={PKI}/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client"),
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        # Never rotated: a test may ask whether something was ever done.
        *(f"--audit-policy-file={layout.HERE / 'manifests' / 'audit.yaml'}", f"--audit-log-path={layout.AUDIT_LOG}"),
    ]


def _controller_manager() -> list[str]:
    config = ADMIN.parent / "controller-manager.conf"
    return [
        *(f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}"),
        *("--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true", "--controllers=*"),
        *(f"--root-ca-file={PKI}/ca.crt", f"--service-account-private-key-file={PKI}/sa.key"),
        *(f"--cluster-signing-cert-file={PKI}/ca.crt", f"--cluster-signing-key-file={PKI}/ca.key"),
        *(f"--node-monitor-grace-period={NODE_GRACE}s", "--node-monitor-period=2s"),
        f"--flex-volume-plugin-dir={STATE / 'plugins'}",
    ]


def _scheduler() -> list[str]:
    config = ADMIN.parent / "scheduler.conf"
    return [
        *(f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}"),
        *("--bind-address=127.0.0.1", "--leader-elect=false"),
    ]
