"""Run in the new process, as a script: give up root, tie this process to its parent, become the server.

Not a ``preexec_fn``: that one forks the whole test process, with its threads and its handlers of forks.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1

parent, uid, gid, signal_at_death = map(int, sys.argv[1:5])
if uid:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    # after setuid, which would clear it; it survives exec
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_at_death, 0, 0, 0)
if os.getppid() == parent:
    os.execv(sys.argv[5], sys.argv[5:])  # noqa: S606 - what the parent says, without a shell
