"""The cluster's network: a namespace for every node, joined by cables, with no way out of the machine."""

from __future__ import annotations

import contextlib
from itertools import combinations

from cluster.commands import Failed, in_network, run
from cluster.layout import NAME, NODES, Node

# While a node is cut off, this nftables table drops what arrives over its cables.
PARTITION = "partition"


def create() -> None:
    """Make the namespaces, the nodes' addresses, and the cables with their routes."""
    for node in NODES:
        run(["ip", "netns", "add", node.namespace.name])
        _address(node)
    for one, other in combinations(NODES, 2):
        run(["ip", "-n", one.namespace.name, "link", "add", other.name, "type", "veth", "peer", "name", one.name])
        run(["ip", "-n", one.namespace.name, "link", "set", one.name, "netns", other.namespace.name])
        _routes(one, other)
        _routes(other, one)


def _address(node: Node) -> None:
    """Give a node its address and a default route, without which Kubernetes' programs find no address of the node.

    Not every kernel has links of type dummy, so the address is on one end of a cable whose other end forwards nothing.
    """
    batch = [
        "link set lo up",
        "link add name home type veth peer name nowhere",
        f"address add {node.address}/32 dev home",
        "link set home up",
        "link set nowhere up",
        "route add default dev home",
    ]
    run(["ip", "-n", node.namespace.name, "-batch", "-"], stdin="\n".join(batch))
    settings = ["net.ipv4.ip_forward=1", "net.ipv4.conf.nowhere.forwarding=0"]
    run(in_network(node, ["sysctl", "-q", "-w", *settings]))


def _routes(node: Node, other: Node) -> None:
    """Lay the way from a node to another one and to its pods, over the cable that is named for the other."""
    batch = [
        f"link set {other.name} up",
        f"route replace {other.address}/32 dev {other.name} src {node.address}",
        f"route replace {other.pod_range} via {other.address} dev {other.name} onlink",
    ]
    run(["ip", "-n", node.namespace.name, "-batch", "-"], stdin="\n".join(batch))


def partition(node: Node) -> None:
    """Cut a node off: nothing arrives from it or at it, silently, as in a cloud; its processes run on.

    Both ends of every cable drop what comes in. Setting the cable down would do the same, but the kernel would then
    forget its routes and tell senders at once that there is no way, which a real partition does not.
    """
    for other in NODES:
        if other != node:
            _drop(node, other)
            _drop(other, node)


def _drop(node: Node, other: Node) -> None:
    chain = f"cable-{other.name}"
    rules = (
        f"add table netdev {PARTITION}\n"
        f'add chain netdev {PARTITION} {chain} {{ type filter hook ingress device "{other.name}" priority 0; policy drop; }}\n'
    )
    run(in_network(node, ["nft", "-f", "-"]), stdin=rules)


def heal(node: Node) -> None:
    """Connect a node again."""
    for other in NODES:
        if other != node:
            for here, there in ((node, other), (other, node)):
                run(in_network(here, ["nft", "delete", "chain", "netdev", PARTITION, f"cable-{there.name}"]), check=False)


def heal_all() -> None:
    """Connect every node again."""
    for node in NODES:
        heal(node)


def remove() -> None:
    """Remove the namespaces, and what `ip netns` mounted to keep them if nobody else's are left."""
    for name in _existing():
        run(["ip", "netns", "delete", name])
    folder = NODES[0].namespace.parent
    if folder.is_dir() and not any(folder.iterdir()):
        run(["umount", "--lazy", folder], check=False)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _existing() -> list[str]:
    """The cluster's namespaces by name; a file that a reboot left is one too."""
    folder = NODES[0].namespace.parent
    return sorted(file.name for file in folder.glob(f"{NAME}-*")) if folder.is_dir() else []


def exists() -> bool:
    """Whether every node's namespace is there and can be entered."""
    try:
        for node in NODES:
            run(in_network(node, ["true"]))
    except Failed:
        return False
    return True
