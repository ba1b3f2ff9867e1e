"""What a training process is for its first milliseconds: binds its life to the agent's, then becomes the real program. Effects.

Started by path with `python -I -S`, so it must import nothing but the standard library. A function run between fork and exec in a
threaded agent could deadlock; this runs after exec. The kernel sends the signal when the agent's *thread* that started
this process ends: the agent starts processes from its main thread only.
"""

import ctypes
import errno
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_USER_ERROR = 64
_ORPHANED = 1
_CRASHED = 1
_FIXES = {
    errno.ENOENT: "name a program of the image",
    errno.EACCES: "name a program that may be executed (chmod +x), or write [sh, FILE]",
    errno.ENOEXEC: "it has no #! line and is no program of this machine; give it one, such as #!/bin/sh, or write [sh, FILE]",
    errno.ENOTDIR: "a part of its path is a file, not a folder; correct the path",
    errno.ELOOP: "its symbolic links lead in a circle; name the file itself",
    errno.ETXTBSY: "somebody is writing to it; copy it to another name first",
    errno.E2BIG: "shorten the command, or the variables of spec.workers.template; what is long belongs into a file",
    errno.ENAMETOOLONG: "correct the path",
    errno.EINVAL: "it is no program of this machine",
    errno.EISDIR: "name a program, not a folder",
}
"""What the user has to mend, by the kernel's refusal. All others (no memory, no more processes) may pass."""


def main(arguments: list[str]) -> int:
    """`arguments`: the agent's process id, then the program with its arguments. Returns only if the program cannot be started."""
    agent, command = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != agent:  # it died before the line above
        return _ORPHANED
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is meant
    except OSError as error:
        return _refused(command[0], error)
    return _CRASHED


def _refused(program: str, error: OSError) -> int:
    fix = _FIXES.get(error.errno or 0)
    if error.errno == errno.ENOENT and os.path.isfile(program):  # noqa: PTH113 - the fewest imports
        fix = "the program after its #! is not there; mend that line (one that ends in a carriage return is a common cause)"
    said = f"spec.training.script.command: cannot start {program!r}: {error.strerror}"
    print(said if fix is None else f"{said}; {fix}", flush=True)  # noqa: T201
    return _CRASHED if fix is None else _USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
