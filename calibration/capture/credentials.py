"""Whether execve of a file sets AT_SECURE, and so what ld.so heeds of its environment and of $ORIGIN.

Plays fs/exec.c:bprm_fill_uid@v6.18 and security/commoncap.c:cap_bprm_creds_from_file@v6.18 for the user who asks.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

CAPABILITY_ATTRIBUTE = "security.capability"


def is_secure(path: str, *, no_new_privs: bool | None = None) -> bool:
    """Whether the file changes user or group, or gives capabilities to a user who is not root.

    Args:
        path: the file that is mapped: of a script its interpreter, whose bits alone count.
        no_new_privs: of the caller; None: as this process has it. With it, and on a nosuid mount, no bit counts.
    """
    if (has_no_new_privs() if no_new_privs is None else no_new_privs) or os.statvfs(path).f_flag & os.ST_NOSUID:
        return False
    status = Path(path).stat()
    user = bool(status.st_mode & stat.S_ISUID) and status.st_uid != os.getuid()
    group = bool(status.st_mode & stat.S_ISGID) and bool(status.st_mode & stat.S_IXGRP)
    return user or (group and status.st_gid != os.getgid()) or (os.getuid() != 0 and _has_capabilities(path))


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
