"""Start a program that dies with the process that started it.

Run as a script, with the standard library only, before the real program takes its place:
`python -I -S leash.py PARENT_PID SIGNAL UID:GID|- -- program args…`. A script, not a `preexec_fn`, because the latter
is unsafe (and a warning) in a process with threads. The kernel ties the signal to the *thread* that started the
program, so start long-lived servers from a thread that lives as long as they should.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def drop_privileges(owner: str) -> None:
    """Become `uid:gid` for good, without supplementary groups; `-` changes nothing."""
    if owner == "-":
        return
    uid, gid = (int(part) for part in owner.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent_pid: int, *, death_signal: int) -> None:
    """Have the kernel send `death_signal` when the parent ends (Linux only; elsewhere nothing happens)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # It ended before we asked.
        os.kill(os.getpid(), signal.SIGKILL)


def main(argv: list[str]) -> None:
    """Read the arguments, put the leash on, become the program."""
    parent_pid, death_signal, owner, _, *program = argv
    drop_privileges(owner)  # First: a change of user clears the death signal.
    die_with(int(parent_pid), death_signal=int(death_signal))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
