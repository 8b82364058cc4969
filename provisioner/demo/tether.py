"""
Part of the supervisor: start a program that dies with its parent. Touches one process, no room.

Run as a script between the supervisor and the program, since both things done here have to be done
inside the new process and before `exec`: give up root, and ask the kernel for a signal when the
parent is gone, however it went (`kill -9` too). In this order: the kernel forgets the request when
a process changes its user.

The kernel means the *thread* that started us: let one do it that lives as long as the program may.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: From linux/prctl.h.
PR_SET_PDEATHSIG = 1

#: Exit status when the program cannot be executed, as a shell would say it.
CANNOT_RUN = 126


def tethered(argv: list[str], *, farewell: signal.Signals = signal.SIGKILL, uid: int | None = None) -> list[str]:
    """
    Wrap *argv*, to be started by this very process, so that it gets *farewell* when we are gone.

    With *uid*, which takes root, the program runs as that user and its group, and no other group.
    """
    identity = "-" if uid is None else str(uid)
    script = [sys.executable, "-I", "-S", __file__]
    return [*script, str(os.getpid()), str(int(farewell)), identity, *argv]


def _become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def _environment() -> dict[bytes, bytes]:
    """Return the environment as we got it: starting up in the C locale, Python adds to its own."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib alone takes as long to load as all of this
        pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
        return {key: value for key, _, value in pairs}


def _main(parent: int, farewell: int, identity: str, argv: list[str]) -> None:
    environment = _environment()  # as root still: the new user may not read it
    if identity != "-":
        _become(int(identity))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, farewell, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it went before we asked, so the signal will never come
        sys.exit(CANNOT_RUN)
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - no shell wanted
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
