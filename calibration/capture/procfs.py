"""A process as the model sees it, from its /proc/PID directory or a copy of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from calibration.capture.pagemap import Survey, survey
from calibration.capture.proc_files import (
    read_bytes,
    read_descriptors,
    read_limits,
    read_runtime,
    read_status,
    read_text,
    read_threads,
    status_number,
)
from calibration.capture.resident import spread_resident
from calibration.capture.smaps import MemoryMap, parse_maps, parse_smaps
from calibration.errors import BadInput
from model.address_space import AddressSpace, Vma
from model.process import Process, Runtime

ASSUMED_CONTIGUOUS = 0.5
"""Where frame numbers cannot be read: live processes show anything from 0 to 1, anew at each start."""
_ATTEMPTS = 3
_SLACK = 0.01
"""Part by which VmSize may differ from the mappings, as a process runs on between two reads."""


def capture_process(pid: int, *, procfs: Path | None = None) -> Process:
    """The live process `pid`; attributes that could not be read are named in `Process.assumed`.

    Args:
        pid: a process of this pid namespace.
        procfs: where procfs is mounted, /proc if None.

    Raises:
        BadInput: no such process, one of another user, or one without user memory (kernel thread, zombie).
    """
    what = f"process {pid}"
    if isinstance(pid, bool) or not 0 < pid < 1 << 31:
        raise BadInput(what, "no process id", "give a positive number, such as `pgrep java` prints")
    directory = (procfs or Path("/proc")) / str(pid)
    if not directory.is_dir():
        raise BadInput(what, "there is no such process", "it may have ended; look for it with `ps`")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return replace(_read(directory, what, live=True), origin="live")
        except BadInput:
            # Mappings that move while they are read can look inconsistent; the next reading tells.
            if attempt == _ATTEMPTS or not directory.is_dir():
                raise
    raise AssertionError("unreachable")


def read_procfs_dir(directory: Path) -> Process:
    """The process of a /proc/PID directory or a copy of one.

    smaps, or else maps, must be there and whole. Other files may be missing: what is assumed instead is named in
    `Process.assumed`. With maps alone, what status says is resident is spread over the mappings by their size.

    Raises:
        BadInput: no directory, smaps and maps missing, cut short or made up, or no user memory.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise BadInput(str(directory), "there is no such directory", "give a copy of a /proc/PID directory")
    return _read(directory, str(directory), live=False)


def _read(directory: Path, what: str, *, live: bool) -> Process:
    status = read_status(directory)
    _refuse_without_mm(status, what)
    mapped = _memory_map(directory, what, live=live)
    if not mapped.vmas:
        raise BadInput(what, "it has no user memory", "give a process that runs a program")
    assumed = ["writable"]
    if not live and not _whole(directory, mapped, status):
        assumed.append("vmas")
    vmas = mapped.vmas
    if not mapped.resident_known:
        vmas = spread_resident(directory, vmas, status)
        assumed.append("resident")
    seen = survey(vmas, directory)
    vmas = seen.vmas if seen is not None else vmas
    assumed += _unseen(seen)
    return _process(directory, status, vmas, _contiguous(seen), assumed)


def _process(
    directory: Path, status: dict[str, str], vmas: tuple[Vma, ...], contiguous: float, assumed: list[str]
) -> Process:
    runtime = read_runtime(directory, status)
    threads, running = read_threads(directory, status)
    fds = read_descriptors(directory, status, runtime or Runtime.C)
    unknown = {"runtime": runtime, "threads": threads, "running_threads": running}
    assumed += [name for name, value in unknown.items() if value is None]
    return Process(
        name=status.get("Name") or directory.name,
        space=AddressSpace(vmas),
        threads=threads or 1,
        running_threads=running or 0,
        open_fds=fds.open_fds,
        highest_fd=fds.highest_fd,
        cloexec_fds=fds.cloexec_fds,
        runtime=runtime or Runtime.C,
        contiguous=contiguous,
        limits=read_limits(directory, status),
        no_new_privs=None if (seen := status_number(status, "NoNewPrivs")) is None else seen == 1,
        uid=status_number(status, "Uid"),
        gid=status_number(status, "Gid"),
        assumed=tuple(sorted({*assumed, *fds.assumed})),
        origin="procfs",
    )


def _refuse_without_mm(status: dict[str, str], what: str) -> None:
    if status.get("State", "")[:1] in ("Z", "X"):
        raise BadInput(what, "it has ended and waits for its parent (zombie)", "give a process that runs")
    if status.get("Kthread") == "1" or ("State" in status and "VmSize" not in status):
        raise BadInput(what, "it has no user memory (kernel thread)", "give a process that runs a program")


def _memory_map(directory: Path, what: str, *, live: bool) -> MemoryMap:
    for name, parse in (("smaps", parse_smaps), ("maps", parse_maps)):
        path = directory / name
        try:
            text = read_bytes(path).decode("utf-8", "backslashreplace")
        except FileNotFoundError:
            continue
        except PermissionError as error:
            remedy = "run it with sudo, or describe the process by --rss" if live else "make the file readable"
            raise BadInput(what, f"{name} may not be read", remedy) from error
        except ProcessLookupError as error:
            raise BadInput(what, "it ended while it was read", "give a process that keeps running") from error
        except OSError as error:
            raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "copy the file again") from error
        return parse(text, str(path))
    if live and not directory.is_dir():
        raise BadInput(what, "it ended while it was read", "give a process that keeps running")
    raise BadInput(what, "there is neither smaps nor maps", "copy one of them from /proc/PID")


def _whole(directory: Path, mapped: MemoryMap, status: dict[str, str]) -> bool:
    """Whether the mappings reach as far as the other files say; False where nothing tells.

    Raises:
        BadInput: they stop short, between two mappings where the text alone looks fine.
    """
    remedy = "copy the whole file again, as the user who owns the process"
    maps = read_text(directory / "maps") if mapped.resident_known else None
    if maps:
        end = parse_maps(maps, str(directory / "maps")).end
        if mapped.end < end:
            why = f"cut short: it stops at {mapped.end:x}, maps at {end:x}"
            raise BadInput(str(directory / "smaps"), why, remedy)
        return True
    stated_kib = status_number(status, "VmSize")
    if not mapped.closed and stated_kib is not None and mapped.size_bytes < stated_kib * 1024 * (1 - _SLACK):
        why = f"cut short: its mappings hold {mapped.size_bytes // 1024} kB, VmSize is {stated_kib} kB"
        raise BadInput(str(directory), why, remedy)
    return mapped.closed or stated_kib is not None


def _unseen(seen: Survey | None) -> list[str]:
    if seen is None:
        return ["contiguous", "folio_pages", "pte_spans"]
    missing = [] if seen.contiguous is not None else ["contiguous"]
    return missing + ([] if seen.folios_known else ["folio_pages"]) + (["pte_spans"] if seen.sampled else [])


def _contiguous(seen: Survey | None) -> float:
    return ASSUMED_CONTIGUOUS if seen is None or seen.contiguous is None else seen.contiguous
