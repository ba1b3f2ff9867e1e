"""`python -m bench.scale.loopback`: the operator, in a cluster whose Services are all at 127.0.0.1. Effect: the program's entry point.

It stands for the cluster's DNS and its Services' addresses, and for nothing else. Which job is meant is told by the name that TLS asks for.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from trainingjob_operator.__main__ import main

_find = socket.getaddrinfo


def _getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
    return _find("127.0.0.1" if isinstance(host, str) and host.endswith(".svc") else host, *rest, **options)


if __name__ == "__main__":
    socket.getaddrinfo = _getaddrinfo
    sys.exit(main())
