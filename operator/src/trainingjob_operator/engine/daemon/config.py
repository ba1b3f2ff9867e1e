"""What the operator's process is told: its configuration file and a few variables, read once. Effect."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from trainingjob_operator.engine.settings import EngineSettings, Misconfigured

PREFIX = "TRAININGJOB_OPERATOR_"

Set = TypeVar("Set", bound=EngineSettings, covariant=True)
S = TypeVar("S", bound=EngineSettings)


@dataclass(frozen=True)
class Config(Generic[Set]):
    """How to run."""

    settings: Set
    namespace: str
    """The operator's own, where its key and its lease are."""
    lease: str
    """The name of the lease that says which of several operators acts."""
    pod: str
    """This process's own name, which no other has at the same time."""
    address: str
    """Where probes and metrics are served."""
    port: int
    log_level: str


def read(environ: Mapping[str, str], settings: type[S]) -> Config[S]:
    """The configuration; `settings` is the model of its file.

    Raises:
        Misconfigured: a variable or a field of the file is wrong; the message names it.
    """
    path = environ.get(f"{PREFIX}CONFIG")
    port = environ.get(f"{PREFIX}PORT", "8080")
    if not port.isdigit() or int(port) > 65535:
        raise Misconfigured(f"{PREFIX}PORT is {port!r}; give a port number, such as 8080")
    log_level = environ.get(f"{PREFIX}LOG_LEVEL", "info").upper()
    if log_level not in logging.getLevelNamesMapping():
        raise Misconfigured(f"{PREFIX}LOG_LEVEL is {log_level.lower()!r}; give debug, info, warning or error")
    return Config(
        settings=_settings(Path(path), settings) if path else settings(),
        namespace=environ.get("POD_NAMESPACE", "default"),
        lease=environ.get(f"{PREFIX}LEASE", "trainingjob-operator"),
        pod=environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
        address=environ.get(f"{PREFIX}ADDRESS", "0.0.0.0"),  # noqa: S104 - kubelet and Prometheus come from outside the pod
        port=int(port),
        log_level=log_level,
    )


def _settings(path: Path, model: type[S]) -> S:
    try:
        return model.model_validate_json(path.read_text())
    except OSError as error:
        raise Misconfigured(f"{PREFIX}CONFIG: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{PREFIX}CONFIG: {path} is no text: {error.reason}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        raise Misconfigured(f"{path}: {wrong}") from None
