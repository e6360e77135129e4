"""AT_SECURE: who gets it, and that ld.so then seeks and preloads nothing that its caller names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from calibration.capture.credentials import Executor, executor_of, has_no_new_privs, is_secure
from calibration.capture.procfs import capture_process, read_procfs_dir
from model.simulation import bill
from model.userland.ldso import loader_system_calls
from tests.calibration.elf_support import compile_c, quiet_environ
from tests.calibration.test_elf_system_calls import KNOWN_GLIBC
from tests.model.builders import BARE, COST_TABLE, anon, parent_of, scenario_of

NOBODY = 65534
needs_root = pytest.mark.skipif(
    os.getuid() != 0 or has_no_new_privs(), reason="only root can give a file to another user; no_new_privs unset"
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that finds its library by an absolute RUNPATH, set-user-ID to somebody else."""
    library = compile_c(
        tmp_path / "libleaf.so", "int leaf(void) { return 0; }\n", "-shared", "-fPIC", "-Wl,-soname,libleaf.so"
    )
    main = "extern int leaf(void); int main(void) { return leaf(); }\n"
    path = compile_c(tmp_path / "program", main, str(library), f"-Wl,-rpath,{tmp_path}")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o4755)
    return path


@needs_root
def test_a_secure_program_heeds_neither_library_path_nor_preload(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "libleaf.so", other / "libleaf.so")
    environ = quiet_environ(LD_LIBRARY_PATH=str(other), LD_PRELOAD=str(other / "libleaf.so"))
    secure = capture_elf(program, environ=environ)
    assert secure.secure
    assert secure == capture_elf(program, environ=quiet_environ())
    program.chmod(0o755)
    plain = capture_elf(program, environ=environ)
    assert not plain.secure
    assert plain.libraries[0].path == str(other / "libleaf.so")
    assert secure.libraries[0].path == str(tmp_path / "libleaf.so")


@needs_root
def test_bind_now_is_heeded_all_the_same(program: Path) -> None:
    assert capture_elf(program, environ=quiet_environ(LD_BIND_NOW="1")).bind_now


@needs_root
def test_no_new_privs_makes_a_file_like_any_other(program: Path) -> None:
    assert is_secure(str(program), Executor(no_new_privs=False))
    assert not is_secure(str(program), Executor(no_new_privs=True))
    assert not capture_elf(program, environ=quiet_environ(), executor=Executor(no_new_privs=True)).secure
    assert capture_elf(program, environ=quiet_environ(), executor=Executor(no_new_privs=False)).secure


@needs_root
def test_set_group_id_counts_only_with_group_execute(program: Path) -> None:
    program.chmod(0o2755)
    assert is_secure(str(program))
    program.chmod(0o2745)
    assert not is_secure(str(program)), "that is mandatory locking, not set-group-ID"


@needs_root
def test_origin_counts_for_a_secure_program_only_within_the_default_directories(program: Path, tmp_path: Path) -> None:
    main = "int main(void) { return 0; }\n"
    flags = ("-Wl,-rpath,$ORIGIN/lib", "-Wl,--no-as-needed", f"-L{tmp_path}", "-l:libleaf.so")
    origin = compile_c(tmp_path / "origin", main, *flags)
    (tmp_path / "lib").mkdir()
    shutil.copy(tmp_path / "libleaf.so", tmp_path / "lib/libleaf.so")
    assert capture_elf(origin, environ=quiet_environ()).libraries[0].path == str(tmp_path / "lib/libleaf.so")
    os.chown(origin, NOBODY, NOBODY)
    origin.chmod(0o4755)
    with pytest.raises(Exception, match="cannot be found"):
        capture_elf(origin, environ=quiet_environ())
    done = subprocess.run([origin], env=quiet_environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 127, "ld.so finds it no better"
    assert "libleaf.so" in done.stderr


@needs_root
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_calls_of_a_secure_program_are_counted(program: Path, tmp_path: Path) -> None:
    image = capture_elf(program, environ=quiet_environ())
    if image.glibc != KNOWN_GLIBC:
        pytest.skip(f"glibc {image.glibc}: the calls are those of {KNOWN_GLIBC}")
    log = tmp_path / "log"
    words = ["strace", "-o", str(log), f"-ELD_LIBRARY_PATH={tmp_path}", str(program)]
    subprocess.run(words, env=quiet_environ(), capture_output=True, timeout=300, check=False)
    lines = log.read_text(errors="replace").splitlines()
    upto = next(index for index, line in enumerate(lines) if line.startswith("prlimit64"))
    calls = loader_system_calls(image)
    for name in ("access", "openat", "newfstatat", "read"):
        assert calls[name] == sum(line.startswith(f"{name}(") for line in lines[:upto])


def test_a_plain_file_is_not_secure(tmp_path: Path) -> None:
    path = compile_c(tmp_path / "plain", "int main(void) { return 0; }\n")
    assert not is_secure(str(path))
    path.chmod(0o4755)
    assert not is_secure(str(path)), "it is the caller's own"


def test_a_program_in_memory_is_read_through_its_descriptor(tmp_path: Path) -> None:
    """What fexecve of a memfd starts."""
    path = compile_c(tmp_path / "plain", "int main(void) { return 0; }\n")
    descriptor = os.memfd_create("program")
    try:
        os.write(descriptor, path.read_bytes())
        image = capture_elf(f"/proc/self/fd/{descriptor}", environ=quiet_environ())
    finally:
        os.close(descriptor)
    on_disk = capture_elf(path, environ=quiet_environ())
    assert image.kind == on_disk.kind
    assert image.symbol_lookups == on_disk.symbol_lookups
    assert [each.path for each in image.libraries] == [each.path for each in on_disk.libraries]


@needs_root
def test_the_state_of_the_calling_process_decides(program: Path, tmp_path: Path) -> None:
    """no_new_privs and the user of a captured parent count, not those of who asks."""
    live = capture_process(os.getpid())
    assert (live.no_new_privs, live.uid, live.gid) == (False, os.getuid(), os.getgid())
    folder = tmp_path / "proc"
    folder.mkdir()
    for name in ("status", "maps"):
        (folder / name).write_text(Path(f"/proc/self/{name}").read_text())
    assert capture_elf(program, environ=quiet_environ(), executor=executor_of(read_procfs_dir(folder))).secure
    status = (folder / "status").read_text()
    (folder / "status").write_text(status.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1"))
    kept = read_procfs_dir(folder)
    assert kept.no_new_privs is True
    assert not capture_elf(program, environ=quiet_environ(), executor=executor_of(kept)).secure
    (folder / "status").write_text(re.sub(r"Uid:.*", f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}", status))
    owner = executor_of(read_procfs_dir(folder))
    program.chmod(0o4711)
    assert not is_secure(str(program), owner), "set-user-ID to its own user"


@needs_root
def test_new_credentials_are_paid_by_execve_and_asked_for_by_the_loader(program: Path) -> None:
    secure = capture_elf(program, environ=quiet_environ())
    plain = capture_elf(program, environ=quiet_environ(), executor=Executor(no_new_privs=True))
    parent = parent_of(anon(1))
    counts = {each: bill(scenario_of("vfork", parent, each), BARE, COST_TABLE).counts for each in (secure, plain)}
    assert counts[secure]["exec_credentials"] == 1
    assert "exec_credentials" not in counts[plain]
    assert counts[secure]["failed_open"] == counts[plain].get("failed_open", 0) + 2
