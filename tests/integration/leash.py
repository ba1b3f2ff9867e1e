"""What a server of the tests is for its first milliseconds: binds its life to pytest's, then becomes the real program.

Started by path with `python -I -S`, so it imports nothing but the standard library. The kernel sends the signal when the
*thread* that started this process ends; `processes.start` says which one does.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """`arguments`: the starter's process id, then the program with its arguments."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == int(arguments[0]):  # otherwise it died before the line above
        os.execv(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
