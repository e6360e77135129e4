"""The console script: finds the command, imports only its module, turns every refusal into one line and status 2."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from calibration.errors import BadInput
from calibration.settings import restore_left

COMMANDS = {
    "predict": "predict",
    "main-job": "predict",
    "snapshot": "snapshot",
    "elf": "elf",
    "trace": "trace",
    "calibrate": "calibrate",
    "check": "check",
    "compare": "compare",
    "identify": "identify",
    "advise-measurement": "advise",
    "export": "export",
    "validate": "validate",
    "sweep": "sweep",
    "merge": "sweep",
    "sensitivity": "sensitivity",
    "plot": "plot",
    "claims": "claims",
    "tlb": "tlb",
}
"""Command: the module of `experiments.cli` whose `register(app)` adds it. One without its module is not built yet."""
BAD, INTERRUPTED = 2, 130
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Matrices are small here: more threads only get in each other's way, up to a hundredfold on a busy machine."""
_INVALID = re.compile(r"Invalid value for '?(?P<what>[^':]+(?: / '[^']+)*)'?: (?P<why>.*)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    restore_left()
    try:
        _prepare_streams()
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except BadInput as error:
        return _refuse(str(error))
    except (BrokenPipeError, SystemExit):
        # Whoever read has left (typer makes a SystemExit of it): there is nobody to tell.
        _abandon_stdout()
        return BAD
    except OSError as error:
        _abandon_stdout()
        what = error.filename if error.filename is not None else "standard output"
        return _refuse(f"{what}: {error.strerror or error} (make room or use another file)")
    except KeyboardInterrupt:
        return INTERRUPTED


def _prepare_streams() -> None:
    """Text that a stream's encoding lacks is escaped; a closed standard output is refused before any work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        raise BadInput("standard output", "it is closed", "leave it open, or send it to a file")


def _run(arguments: list[str]) -> int:
    if not arguments:
        raise BadInput("COMMAND", "none is given", "see `spawncost --help`")
    name = arguments[0]
    if name in COMMANDS and not _is_built(name):
        raise BadInput(name, "this command is not built yet", "see `spawncost --help` for those that are")
    command = typer.main.get_command(_app(name))
    try:
        status = command.main(args=arguments, prog_name="spawncost", standalone_mode=False)
    except typer.TyperException as error:
        raise _usage(error.format_message(), name) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return status if isinstance(status, int) else 0


def _app(name: str) -> typer.Typer:
    """An app with the one command, or with all that are built for a help text or a command that there is not."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_about)
    names = [name] if name in COMMANDS else [each for each in COMMANDS if _is_built(each)]
    for module in dict.fromkeys(COMMANDS[each] for each in names):
        import_module(f"experiments.cli.{module}").register(app)
    return app


def _is_built(name: str) -> bool:
    return find_spec(f"experiments.cli.{COMMANDS[name]}") is not None


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"spawncost {version('spawncost')}")
        raise typer.Exit


def _about(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and end.")
    ] = False,
) -> None:
    """What does it cost a process to start another? Results on stdout, warnings on stderr; status 2 is bad input."""


def _usage(message: str, name: str) -> BadInput:
    """A usage error in the words of every other refusal."""
    text = " ".join(message.split()).rstrip(".")
    shown = f"spawncost {name}" if name in COMMANDS else "spawncost"
    remedy = f"see `{shown} --help`"
    found = _INVALID.fullmatch(text)
    if found is not None:
        return BadInput(found["what"].replace("'", ""), found["why"], remedy)
    return BadInput(shown, text, remedy)


def _refuse(text: str) -> int:
    """One line, whatever the text holds."""
    if sys.stderr is not None:
        print(f"spawncost: error: {' '.join(text.split())}", file=sys.stderr)
    return BAD


def _abandon_stdout() -> None:
    """Drop what cannot be written, lest the interpreter try again at its end and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
