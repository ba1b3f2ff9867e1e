"""Variables in the texts of a container, as the kubelet expands them. Pure.

The kubelet replaces `$(NAME)` in the values of `env`, and in `command` and `args`, by the variables that it has defined so far. Local
processes and the command of a script follow the same rules, so that one manifest means the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
"""An escaped dollar, or a reference that is closed. Any other dollar stands for itself."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with every `$(NAME)` replaced.

    A name that is not in `variables` stays as it is written, `$$` becomes `$`, and what a variable holds is not expanded again.
    """

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        return "$" if name is None else variables.get(name, found[0])

    return _REFERENCE.sub(replaced, text)


def escape(text: str) -> str:
    """Return a text that `expand` turns into `text`, whatever the variables are."""
    return text.replace("$", "$$")
