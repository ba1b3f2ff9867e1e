"""What a training process is for its first milliseconds: binds its life to the agent's, then becomes the real program. Effects.

Started by path with `python -I -S`, so it must import nothing but the standard library. A function run between fork and exec in a
threaded agent could deadlock; this runs after exec. The kernel sends the signal when the agent's *thread* that started
this process ends: the agent starts processes from its main thread only.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_USER_ERROR = 64
_ORPHANED = 1


def main(arguments: list[str]) -> int:
    """`arguments`: the agent's process id, then the program with its arguments. Returns only if the program cannot be started."""
    agent, command = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != agent:  # it died before the line above
        return _ORPHANED
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is meant
    except (FileNotFoundError, PermissionError) as error:
        print(f"spec.training.script.command: cannot start {command[0]!r}: {error.strerror}; name a program of the image", flush=True)  # noqa: T201
    return _USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
