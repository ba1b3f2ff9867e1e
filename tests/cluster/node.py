"""One node: a private view of the file systems, and in it containerd, a kubelet and a kube-proxy."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from cluster import layout
from cluster.commands import in_network, wait_for
from cluster.layout import PKI, Node
from cluster.processes import Process, lookup, must_run, start

CNI_PROGRAMS = "/usr/lib/cni"

# Paths that the node's programs have built in: two nodes cannot share them, so that a folder of the node lies over each.
BUILT_IN = ("/var/lib/cni", "/var/lib/kubelet")
# And every mount that the programs make is the node's alone: it is gone when its last process is.
PRIVATE_MOUNTS = """
mkdir -p /var/lib/cni /var/lib/kubelet "$1/log" "$1/cni-cache" "$1/devices"
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/containerd /run/netns /run/lock
mount --bind "$1/log" /var/log
mount --bind "$1/cni-cache" /var/lib/cni
mount --bind "$1/devices" /var/lib/kubelet
touch "$1/mounted"
exec sleep infinity
"""


def begin(node: Node) -> None:
    """Start the node's container runtime, which must be there before its kubelet is."""
    node.folder.mkdir(parents=True, exist_ok=True)
    _write_network(node)
    (node.folder / "containerd.toml").write_text(_containerd(node))
    keeper = start(
        f"{node.name}-mounts", ["unshare", "--mount", "--propagation", "private", "sh", "-ec", PRIVATE_MOUNTS, "sh", node.folder]
    )
    wait_for(f"{node.name} has its mounts", (node.folder / "mounted").exists)
    must_run(keeper)
    start(f"{node.name}-containerd", inside(node, ["containerd", "--config", node.folder / "containerd.toml"]))


def wait_runtime(node: Node) -> None:
    """Wait until the container runtime takes orders."""
    process = lookup(f"{node.name}-containerd")

    def ready() -> bool:
        must_run(process)
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(node.containerd))
        except OSError:
            return False
        return True

    wait_for(f"containerd of {node.name} listens", ready)


def join(node: Node, programs: Path) -> list[Process]:
    """Start the kubelet and the kube-proxy; the API server must be ready."""
    (node.folder / "kubelet.json").write_text(json.dumps(_kubelet(node)))
    (node.folder / "kube-proxy.json").write_text(json.dumps(_kube_proxy(node)))
    root = node.folder / "kubelet"
    kubelet = [
        *(programs / "kubelet", f"--config={node.folder / 'kubelet.json'}", f"--kubeconfig={node.folder / 'kubelet.conf'}"),
        *(f"--root-dir={root}", f"--cert-dir={root / 'pki'}", f"--hostname-override={node.name}", f"--node-ip={node.address}"),
    ]
    proxy = [programs / "kube-proxy", f"--config={node.folder / 'kube-proxy.json'}"]
    return [start(f"{node.name}-kubelet", inside(node, kubelet)), start(f"{node.name}-kube-proxy", inside(node, proxy))]


def inside(node: Node, argv: list[object]) -> list[object]:
    """The same program, in the node's network and with its mounts."""
    keeper = lookup(f"{node.name}-mounts")
    enter, network, *rest = in_network(node, argv)
    return [enter, network, f"--mount=/proc/{keeper.pid}/ns/mnt", *rest]


def _write_network(node: Node) -> None:
    """Tell containerd how a pod gets its network: a cable to the node, and an address of the node's range."""
    folder = node.folder / "cni"
    folder.mkdir(exist_ok=True)
    addresses = {"type": "host-local", "ranges": [[{"subnet": node.pod_range}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses | {"dataDir": str(node.folder / "addresses")}}
    network = {"cniVersion": "0.4.0", "name": node.name, "plugins": [plugin]}
    (folder / "10-pods.conflist").write_text(json.dumps(network))


def _containerd(node: Node) -> str:
    """containerd's settings.

    `restrict_oom_score_adj`: without the capability SYS_RESOURCE, which a sandboxed root lacks, no process may protect
    itself from the out-of-memory killer, and every pod would fail with "can't get final child's PID from pipe: EOF".
    """
    return f"""
version = 2
root = "{node.folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{node.containerd}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{node.folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{node.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _kubelet(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{PKI}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{node.containerd}",
        "clusterDNS": [layout.DNS_ADDRESS],
        "clusterDomain": layout.DNS_DOMAIN,
        "resolvConf": "/dev/null",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "volumePluginDir": str(node.folder / "plugins"),
        # A test machine may be nearly full; and an image that is collected could not be pulled again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        # The lease is renewed every quarter of this, and the status told as often.
        "nodeLeaseDurationSeconds": 16,
        "nodeStatusUpdateFrequency": "4s",
    }


def _kube_proxy(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(node.folder / "kube-proxy.conf")},
        "hostnameOverride": node.name,
        "clusterCIDR": layout.POD_RANGE,
        "mode": "nftables",
        "conntrack": {"maxPerCore": 0},
    }
