"""The messages of each version of the contract as it wrote them, in golden/VERSION/MODULE.json, and the fields of the workers'
configuration with their defaults, in golden/spec.json. Run it to take in what was added:

    python -m unit.contract.golden        (in tests/)

Of a version that exists already nothing is changed or taken away: for that, CONTRACT_VERSION grows, and with it comes a folder of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from trainingjob_api.contract.runtime import CONTRACT_VERSION
from unit.contract.samples import MODULES, full, least, models, read, written
from unit.contract.spec import Fields, broken, fields

FOLDER = Path(__file__).parent / "golden"
Kept = dict[str, dict[str, Any]]
"""Message -> "full" and "least" -> as it was written."""


def today(module: str) -> Kept:
    """The messages of a module as they are written now."""
    return {name: {"full": written(full(model)), "least": written(least(model))} for name, model in models(module).items()}


def kept(version: int, module: str) -> Kept:
    """The messages of a module as that version wrote them."""
    path = FOLDER / str(version) / f"{module}.json"
    found: Kept = json.loads(path.read_text()) if path.exists() else {}
    return found


def kept_spec() -> Fields:
    """The fields of the workers' configuration, as they were taken in."""
    path = FOLDER / "spec.json"
    found: Fields = json.loads(path.read_text()) if path.exists() else {}
    return found


def breaks(module: str, before: Kept) -> list[str]:
    """What of these messages today's models do not read, or read as something else."""
    known, found = models(module), []
    for name, forms in before.items():
        if name not in known:
            found.append(f"{module}.{name}: there is no such message any more")
            continue
        found += [f"{module}.{name}: {why}" for form in forms.values() if (why := _misread(known[name], form))]
    return found


def write() -> None:
    """Take in what was added.

    Raises:
        SystemExit: something else has changed.
    """
    lines = [line for module in MODULES for line in breaks(module, kept(CONTRACT_VERSION, module))]
    if lines:
        sys.exit("\n".join([*lines, "An older peer would be misread: let CONTRACT_VERSION grow, or change it back."]))
    before = kept_spec()
    lines = broken(before, fields()) if before else []
    if lines:
        sys.exit("\n".join([*lines, "An image of another version would take it otherwise: change it back, or take another field."]))
    folder = FOLDER / str(CONTRACT_VERSION)
    folder.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        (folder / f"{module}.json").write_text(json.dumps(today(module), indent=1) + "\n")
    (FOLDER / "spec.json").write_text(json.dumps(fields(), indent=1) + "\n")


def _misread(model: type[BaseModel], form: Any) -> str:
    try:
        again = written(read(model, form))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
    return "" if again == form else f"{form} is read as {again}"


if __name__ == "__main__":
    write()
