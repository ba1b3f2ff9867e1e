"""The `trainingjob` command: plan, run and look after jobs on this machine."""

import os
import sys


def _own_modules_first() -> None:
    """Look for modules neither in PYTHONPATH nor in the working folder: a random.py there is the user's, for the training process.

    Only where this is the program itself, and before anything else is imported.
    """
    if not sys.argv[0].endswith(("/trainingjob", "/trainingjob_cli/__main__.py", "-m")):
        return
    users = {*os.environ.get("PYTHONPATH", "").split(os.pathsep), "", os.getcwd()}  # noqa: PTH109 - nothing is imported yet
    sys.path[:] = [folder for folder in sys.path if folder not in users or os.path.isdir(f"{folder}/trainingjob_cli")]  # noqa: PTH112


_own_modules_first()
