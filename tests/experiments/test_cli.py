"""The command line: documents on stdout, one line and status 2 for what cannot be used, never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from calibration import machine_file
from calibration.capture.parent_file import bundled_parents
from experiments.cli import main as cli
from tests.experiments.plausible import OTHER_HOST, write_plausible
from tests.experiments.test_answers import SCHEMA

COMMAND = [sys.executable, "-m", "experiments.cli.main"]
ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, **more}
    return subprocess.run([*COMMAND, *arguments], text=True, check=False, timeout=600, **options)


def _document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _assert_refused(status: int, output: str, errors: str, named: str) -> None:
    assert status == 2
    assert output == ""
    assert re.fullmatch(r"spawncost: error: .+: .+ \(.+\)\n", errors), errors
    assert named in errors


@pytest.fixture
def machine(machine_path: Path) -> tuple[str, str]:
    return "--machine", str(machine_path)


def test_json_is_one_document_and_nothing_else(machine: tuple[str, str]) -> None:
    done = _run("predict", *machine, "--json")
    jsonschema.validate(json.loads(done.stdout), SCHEMA)
    assert done.returncode == 0
    assert all(line.startswith("spawncost: warning: ") for line in done.stderr.splitlines())
    assert "assumed_contiguity" in done.stderr


def test_the_same_command_prints_the_same_bytes(machine: tuple[str, str]) -> None:
    arguments = ("predict", *machine, "--via", "all", "--parent", "cpython", "--seed", "3", "--json")
    outputs = {_run(*arguments, env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")}
    assert len(outputs) == 1


def test_output_does_not_depend_on_the_terminal(machine: tuple[str, str]) -> None:
    outputs = [
        _run("predict", *machine, env={**os.environ, "COLUMNS": columns, "LC_ALL": locale}).stdout
        for columns, locale in (("40", "C"), ("200", "C.UTF-8"))
    ]
    assert outputs[0] == outputs[1]
    path = machine[1]
    assert max(len(line) for line in outputs[0].splitlines() if path not in line) <= 80


@pytest.mark.parametrize("parent", bundled_parents())
def test_every_bundled_parent_is_a_parent(
    capsys: pytest.CaptureFixture[str], machine: tuple[str, str], parent: str
) -> None:
    document = _document(capsys, "predict", *machine, "--parent", parent)
    assert document["parent"]["origin"] == "bundled"
    assert ("jdk-fork" in [each["mechanism"] for each in document["predictions"]]) == parent.startswith("jvm")


def test_synthetic_parents_have_what_was_asked(capsys: pytest.CaptureFixture[str], machine: tuple[str, str]) -> None:
    size = ("--rss", "64MiB", "--vmas", "8", "--threads", "5", "--fds", "70")
    parent = _document(capsys, "predict", *machine, *size)["parent"]
    plain = _document(capsys, "predict", *machine, "--rss", "64MiB")["parent"]
    assert (parent["threads"], parent["fds"], parent["caller"]) == (5, 70, "hot")
    assert (plain["threads"], plain["fds"]) == (1, 3)
    assert parent["vmas"] == plain["vmas"] + 7 + 2 * 4
    assert plain["anon_ptes"] >= 64 * 256


def test_a_live_process_and_its_snapshot_are_the_same_parent(
    capsys: pytest.CaptureFixture[str], machine: tuple[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        cat.stdin.write(b"x\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == b"x\n", "it waits for input now, so its memory stands still"
        try:
            snapshot = tmp_path / "cat.json"
            assert cli.main(["snapshot", str(cat.pid), "-o", str(snapshot)]) == 0
            live = _document(capsys, "predict", *machine, "--pid", str(cat.pid))
            assert cli.main(["snapshot", str(cat.pid)]) == 0
            printed = json.loads(capsys.readouterr().out)
        finally:
            cat.kill()
    assert printed["vmas"] == json.loads(snapshot.read_text())["vmas"]
    stored = _document(capsys, "predict", *machine, "--parent", str(snapshot))
    assert (live["parent"]["origin"], stored["parent"]["origin"]) == ("live", "snapshot")
    assert stored["predictions"] == live["predictions"]
    assert cli.main(["predict", *machine, "--pid", str(cat.pid)]) == 2, "it has ended"


def test_a_child_that_exits_at_once(capsys: pytest.CaptureFixture[str], machine: tuple[str, str]) -> None:
    document = _document(capsys, "predict", *machine, "--exec", "none", "--rss", "1MiB")
    assert document["target"]["kind"] == "none"
    assert [each["mechanism"] for each in document["predictions"]] == ["fork", "vfork"]


def test_clone_flags_decide_what_clone3_costs(capsys: pytest.CaptureFixture[str], machine: tuple[str, str]) -> None:
    def reaped(*flags: str) -> float:
        document = _document(capsys, "predict", *machine, "--rss", "256MiB", "--via", "clone3", *flags)
        return float(document["predictions"][0]["milestones_us"]["reaped"]["p50"])

    assert reaped() > 2 * reaped("--clone-flags", "CLONE_VM,CLONE_VFORK")


def test_strict_says_nothing_on_stdout(capsys: pytest.CaptureFixture[str], machine: tuple[str, str]) -> None:
    assert cli.main(["predict", *machine, "--rss", "1MiB", "--strict"]) == 0
    capsys.readouterr()
    status = cli.main(["predict", *machine, "--rss", "1TiB", "--strict", "--json"])
    _assert_refused(status, *capsys.readouterr(), named="extrapolates")


def test_the_main_job_takes_the_bundled_file_whatever_else_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundled = tmp_path / "bundled"
    write_plausible(bundled / "bundled.toml", this_host=False)
    write_plausible(machine_file.user_directory() / f"{machine_file.host_name()}.toml")
    monkeypatch.setattr(machine_file, "BUNDLED_DIRECTORY", bundled)
    assert cli.main(["main-job"]) == 0
    found = capsys.readouterr()
    assert f"{OTHER_HOST} (bundled)" in found.out
    assert "other_host" in found.err
    assert len([line for line in found.out.splitlines() if " on  " in line]) == 6
    assert cli.main(["main-job", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [document["parent"]["huge_pmds"] > 0 for document in documents] == [False, True]
    assert cli.main(["predict"]) == 0
    assert "(calibrated)" in capsys.readouterr().out


def test_elf_counts_what_the_loader_reports(capsys: pytest.CaptureFixture[str]) -> None:
    lazy, now = _document(capsys, "elf", "/bin/true"), _document(capsys, "elf", "/bin/true", "--bind-now")
    assert now["symbol_lookups"] > lazy["symbol_lookups"] > 0
    assert {"schema", "path", "kind", "interpreter", "libraries", "constructors"} <= set(lazy)
    assert cli.main(["elf", "/bin/true"]) == 0
    assert str(lazy["symbol_lookups"]) in capsys.readouterr().out


def test_trace_writes_a_file_that_a_viewer_can_read(
    capsys: pytest.CaptureFixture[str], machine: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "trace.json"
    assert cli.main(["trace", *machine, "--via", "fork,vfork", "-o", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    assert {each["pid"] for each in json.loads(out.read_text())["traceEvents"]} == {1, 2}


def test_help_lists_only_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    listed = re.findall(r"^  ([a-z][\w-]*)  ", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE)
    assert {"predict", "snapshot", "elf", "trace"} <= set(listed)
    for name in listed:
        assert cli.main([name, "--help"]) == 0
    capsys.readouterr()
    for name in sorted(set(cli.COMMANDS) - set(listed)):
        _assert_refused(cli.main([name]), *capsys.readouterr(), named=name)


def test_unbuilt_options_are_hidden_and_refused(capsys: pytest.CaptureFixture[str], machine: tuple[str, str]) -> None:
    assert cli.main(["predict", "--help"]) == 0
    assert "--jdk-cold" not in capsys.readouterr().out
    _assert_refused(cli.main(["predict", *machine, "--jdk-cold"]), *capsys.readouterr(), named="--jdk-cold")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"spawncost \d+\.\d+\.\d+\n", capsys.readouterr().out)


BAD = {
    "no command": ((), "COMMAND"),
    "unknown command": (("frobnicate",), "frobnicate"),
    "unknown option": (("predict", "--bogus"), "--bogus"),
    "no number": (("predict", "--pid", "abc"), "--pid"),
    "no value": (("predict", "--machine"), "--machine"),
    "too many words": (("predict", "MACHINE", "more"), "more"),
    "a word too few": (("elf",), "PATH"),
    "no output": (("trace", "MACHINE"), "-o"),
    "pid that is gone": (("predict", "MACHINE", "--pid", "2147483646"), "2147483646"),
    "negative pid": (("predict", "MACHINE", "--pid", "-4"), "-4"),
    "kernel thread or nothing": (("snapshot", "2"), "2"),
    "folder without smaps": (("predict", "MACHINE", "--procfs", "/usr"), "/usr"),
    "no such folder": (("predict", "MACHINE", "--procfs", "/no/such"), "/no/such"),
    "no such parent": (("predict", "MACHINE", "--parent", "jvm-5g"), "jvm-5g"),
    "parent of another schema": (("predict", "MACHINE", "--parent", "MACHINE-FILE"), "schema"),
    "two parents": (("predict", "MACHINE", "--pid", "1", "--rss", "1MiB"), "--pid and --rss"),
    "vmas without rss": (("predict", "MACHINE", "--vmas", "3"), "--vmas"),
    "no size": (("predict", "MACHINE", "--rss", "much"), "--rss"),
    "too large": (("predict", "MACHINE", "--rss", "200TiB"), "--rss"),
    "no threads": (("predict", "MACHINE", "--rss", "1MiB", "--threads", "0"), "threads"),
    "no fraction": (("predict", "MACHINE", "--contiguous", "2"), "--contiguous"),
    "no such THP": (("predict", "MACHINE", "--thp", "maybe"), "--thp"),
    "no such caller": (("predict", "MACHINE", "--caller", "warm"), "--caller"),
    "no such target": (("predict", "MACHINE", "--exec", "/no/such"), "/no/such"),
    "target is a folder": (("predict", "MACHINE", "--exec", "/usr"), "/usr"),
    "target is no program": (("predict", "MACHINE", "--exec", "/etc/passwd"), "/etc/passwd"),
    "target is a device": (("predict", "MACHINE", "--exec", "/dev/null"), "/dev/null"),
    "no such mechanism": (("predict", "MACHINE", "--via", "spoon"), "spoon"),
    "unbuilt mechanism": (("predict", "MACHINE", "--via", "runc"), "runc"),
    "needs an exec": (("predict", "MACHINE", "--exec", "none", "--via", "shell"), "shell"),
    "no such rule": (("predict", "MACHINE", "--rule", "x=y"), "--rule"),
    "old kernel": (("predict", "MACHINE", "--kernel", "2.6.32"), "--kernel"),
    "no such machine": (("predict", "--machine", "nowhere"), "nowhere"),
    "no machine file": (("predict", "--machine", "/etc/passwd"), "/etc/passwd"),
    "unwritable": (("trace", "MACHINE", "--rss", "1MiB", "-o", "/no/such/file.json"), "/no/such/file.json"),
    "unwritable snapshot": (("snapshot", "SELF", "-o", "/no/such/file.json"), "/no/such/file.json"),
    "line breaks in a name": (("elf", "/no\nsuch"), "/no such"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], machine: tuple[str, str], arguments: tuple[str, ...], named: str
) -> None:
    meant = {"MACHINE": machine, "MACHINE-FILE": machine[1:], "SELF": (str(os.getpid()),)}
    words = [word for each in arguments for word in meant.get(each, (each,))]
    _assert_refused(cli.main(words), *capsys.readouterr(), named=named)


def test_a_usage_error_is_one_line_for_a_whole_process_too() -> None:
    done = _run("predict", "--pid", "abc")
    _assert_refused(done.returncode, done.stdout, done.stderr, "--pid")


def test_a_full_disk_behind_stdout_is_one_line(machine: tuple[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = _run("predict", *machine, "--json", stdout=full)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("spawncost: error: standard output: No space left")
    assert "Traceback" not in done.stderr


def test_a_reader_who_leaves_is_no_error_to_tell(machine: tuple[str, str]) -> None:
    command = " ".join([*COMMAND, "predict", *machine, "--via", "all", "--json", "| true; exit ${PIPESTATUS[0]}"])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False, timeout=600)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr
    assert done.returncode in (0, 2)


def test_an_interrupt_ends_with_130(machine: tuple[str, str], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Reading a FIFO that nobody writes to keeps the command busy until the signal comes.
    # A job that a shell without job control has put in the background ignores the signal, and so do its children.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [*COMMAND, "predict", "--machine", str(fifo)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=heeding) as process:
        writer = os.open(fifo, os.O_WRONLY)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=300)
        finally:
            os.close(writer)
    assert process.returncode == 130
    assert errors == b""


def test_a_prediction_loads_no_heavy_library(machine: tuple[str, str]) -> None:
    code = (
        "import sys; from experiments.cli.main import main; status = main(sys.argv[1:]);"
        "heavy = {'scipy', 'pandas', 'matplotlib', 'rich', 'distributed'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else status)"
    )
    command = [sys.executable, "-c", code, "predict", *machine, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
