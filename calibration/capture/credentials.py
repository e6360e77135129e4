"""Whether execve of a file sets AT_SECURE, and so what ld.so heeds of its environment and of $ORIGIN.

Plays fs/exec.c:bprm_fill_uid@v6.18 and security/commoncap.c:cap_bprm_creds_from_file@v6.18 for the user who asks.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from model.process import Process

CAPABILITY_ATTRIBUTE = "security.capability"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Who executes a file: None is what this process has.

    Attributes:
        no_new_privs: whether no file may change its user.
        uid, gid: its real user and group.
    """

    no_new_privs: bool | None = None
    uid: int | None = None
    gid: int | None = None


THIS_PROCESS = Executor()


def known_executor(by: Executor) -> Executor:
    """The same with what this process has put in."""
    return Executor(
        no_new_privs=has_no_new_privs() if by.no_new_privs is None else by.no_new_privs,
        uid=os.getuid() if by.uid is None else by.uid,
        gid=os.getgid() if by.gid is None else by.gid,
    )


def executor_of(process: Process) -> Executor:
    """A captured process as the one that executes."""
    return Executor(no_new_privs=process.no_new_privs, uid=process.uid, gid=process.gid)


def is_secure(path: str, by: Executor = THIS_PROCESS) -> bool:
    """Whether the file changes user or group, or gives capabilities to a user who is not root.

    Args:
        path: the file that is mapped: of a script its interpreter, whose bits alone count.
        by: who executes it. With no_new_privs, and on a nosuid mount, no bit counts.
    """
    by = known_executor(by)
    if by.no_new_privs or os.statvfs(path).f_flag & os.ST_NOSUID:
        return False
    status = Path(path).stat()
    user = bool(status.st_mode & stat.S_ISUID) and status.st_uid != by.uid
    group = bool(status.st_mode & stat.S_ISGID) and bool(status.st_mode & stat.S_IXGRP)
    return user or (group and status.st_gid != by.gid) or (by.uid != 0 and _has_capabilities(path))


def has_no_new_privs() -> bool:
    """NoNewPrivs of this process; False where that cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split() == ["NoNewPrivs:", "1"] for line in lines)


def _has_capabilities(path: str) -> bool:
    try:
        return bool(os.getxattr(path, CAPABILITY_ATTRIBUTE))
    except OSError:
        return False
