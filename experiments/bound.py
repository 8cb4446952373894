"""Turns into another program, which ends when its parent ends and keeps to some cores.

python -P experiments/bound.py PARENT CORES COMMAND...

PARENT is the number of the process that starts it, CORES their numbers with commas, or nothing for
all. Only Linux can do this; elsewhere the command simply runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main() -> None:
    parent, cores, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(",")))
    if os.getppid() != int(parent):  # it has ended already
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
