"""The structure of the house: size of its rooms, purity of the model, costs, citations, packaging."""

from __future__ import annotations

import ast
import csv
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from calibration.plan import planned_rows
from model.costs import COSTS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "calibration", "experiments")
FOLDERS = (*PACKAGES, "tests", "notebooks")

MAX_FILE_LINES = {"model": 330, "calibration": 330, "experiments": 330, "tests": 500}
MAX_FUNCTION_LINES = 45

IMPURE_MODULES = frozenset(
    "os pathlib json time subprocess random io sys socket shutil tempfile datetime logging threading multiprocessing "
    "asyncio tomllib csv pickle glob signal ctypes mmap platform urllib sqlite3".split()
)
IMPURE_CALLS = frozenset("open print input exec eval compile __import__ breakpoint".split())
HEAVY_MODULES = frozenset("scipy pandas matplotlib".split())
CHARGED_IN = ("model/kernel", "model/hardware", "model/userland", "model/simulation.py")

CITATION = re.compile(r"(?P<file>[A-Za-z_][\w./-]*\.[ch]):(?P<function>[A-Za-z_]\w*)@v?(?P<version>\d+(?:\.\d+)*)")
# Written so that no pattern matches itself.
UNWANTED = {
    "a path of one machine": r"/w[o]rk/(main|shared|brief)\b|/o[p]t/(pypi|wheels)\b|/home/\w+/|/r[o]ot/",
    "the host of a package registry": r"\bp[y]pi\.org\b|pythonh[o]sted|npmj[s]\.|deb\.deb[i]an",
    "how the text came about": r"\b(sub)?ag[e]nts?\b|\bs[e]ssion ids?\b|\bf[a]rm-[a-z]+|\bissue #?[0-9]+\b",
    "unfinished work": r"\bT[O]DO\b|\bFIX[M]E\b|\bX[X]X\b",
}


def python_files(*folders: str) -> list[Path]:
    """All Python files below these folders (or the files themselves), relative to the root."""
    found = [
        path for name in folders for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    return sorted(path.relative_to(ROOT) for path in found if path.is_file() and "__pycache__" not in path.parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, docstring left out."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and top-level name of each imported module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, (node.module or "").partition(".")[0]


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a chain of attributes, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def calls_of(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Each call with the dotted name of what is called."""
    return ((node, dotted(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call))


def assert_none(found: Iterable[str], why: str = "") -> None:
    """Fail with all that was found, a line each."""
    lines = sorted(found)
    assert not lines, "\n".join(["", *([why] if why else []), *lines])


def test_files_stay_small() -> None:
    sizes = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in python_files(*MAX_FILE_LINES)}
    assert sizes
    assert_none(f"{path}: {n} lines" for path, n in sizes.items() if n > MAX_FILE_LINES[path.parts[0]])


def test_functions_stay_small() -> None:
    sizes = {
        f"{path}:{function.name}": lines_of(function)
        for path in python_files(*PACKAGES, "tests")
        for function in functions_of(tree_of(path))
    }
    assert sizes
    assert_none(f"{name}: {n} lines" for name, n in sizes.items() if n > MAX_FUNCTION_LINES)


def test_the_model_imports_nothing_that_touches_the_world() -> None:
    impure = [
        f"{path}:{line}: {module}"
        for path in python_files("model")
        for line, module in imported_modules(tree_of(path))
        if module in IMPURE_MODULES
    ]
    assert_none(impure)


def test_the_model_opens_nothing_and_prints_nothing() -> None:
    impure = [
        f"{path}:{call.lineno}: {name}"
        for path in python_files("model")
        for call, name in calls_of(tree_of(path))
        if name in IMPURE_CALLS or re.fullmatch(r"(np|numpy)\.random\.\w+", name)
    ]
    assert_none(impure, "a seeded generator is handed in; reading and printing is done elsewhere")


def test_only_simulation_makes_an_environment() -> None:
    makers = {
        str(path)
        for path in python_files(*PACKAGES)
        if any(module == "simpy" for _, module in imported_modules(tree_of(path)))
        for _, name in calls_of(tree_of(path))
        if name in ("simpy.Environment", "Environment")
    }
    # The bench holds the model's speed against a bare loop of SimPy timeouts.
    assert_none(makers - {"model/simulation.py", "experiments/bench.py"})


def test_importing_a_package_loads_nothing_heavy() -> None:
    heavy = [
        f"{path}:{node.lineno}"
        for path in python_files(*PACKAGES)
        if path.name == "__init__.py" or path.parts[0] == "model"
        for node in tree_of(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        if HEAVY_MODULES & {module for _, module in imported_modules(node)}
    ]
    assert_none(heavy, "import scipy, pandas and matplotlib where they are used")


def exported_by(tree: ast.Module) -> set[str]:
    """What a package's `__init__` offers: what it imports (at once or for type checkers) and what `__all__` names."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign) and any(dotted(target) == "__all__" for target in node.targets):
            names |= set(ast.literal_eval(node.value))
    return names


def test_no_module_bears_the_name_of_what_its_package_exports() -> None:
    clashes = []
    for path in (path for path in python_files(*PACKAGES) if path.name == "__init__.py"):
        modules = {each.stem for each in (ROOT / path.parent).iterdir() if each.suffix == ".py" or each.is_dir()}
        clashes += [f"{path}: {name}" for name in modules & exported_by(tree_of(path))]
    assert_none(clashes)


def literals_in(*places: str) -> tuple[set[str], list[re.Pattern[str]]]:
    """String constants in these files, docstrings included, and patterns for their f-strings."""
    constants, patterns = set(), []
    for path in python_files(*places):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                constants.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"\w+" for p in node.values]
                if any(isinstance(p, ast.Constant) for p in node.values):
                    patterns.append(re.compile("".join(parts)))
    return constants, patterns


def test_every_cost_is_charged_somewhere() -> None:
    constants, patterns = literals_in(*CHARGED_IN)
    idle = {name for name in COSTS if name not in constants and not any(p.fullmatch(name) for p in patterns)}
    assert_none(idle, "declared, but no path charges it")


def test_every_charge_has_a_declared_cost() -> None:
    undeclared = [
        f"{path}:{call.lineno}: {call.args[0].value!r}"
        for path in python_files("model")
        for call, _ in calls_of(tree_of(path))
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("charge", "latency")
        if call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value not in COSTS
    ]
    assert_none(undeclared)


def benches_there() -> set[str]:
    """Names of the benches: C sources, and `live/PARENT` where a matrix of live runs of that parent is built."""
    live = {function.name for path in python_files("calibration/live") for function in functions_of(tree_of(path))}
    matrices = {f"live/{name.removesuffix('_matrix')}" for name in live if name.endswith("_matrix")}
    return matrices | {path.stem for path in (ROOT / "calibration/bench").rglob("*.c")}


def test_every_cost_is_measured_or_assumed_with_its_source() -> None:
    benches = benches_there()
    rows = {planned.row.name for planned in planned_rows()}
    wrong = {
        f"{name}: {spec.bench}"
        for name, spec in COSTS.items()
        if bool(spec.bench) == bool(spec.assumed) or (spec.bench and spec.bench not in benches | rows)
    }
    assert_none(wrong, "each cost names a bench (or a row of the plan) that exists, or is assumed with its source")
    assert all(name == spec.name and spec.per and spec.stands_for for name, spec in COSTS.items())


def test_every_planned_bench_exists() -> None:
    benches = benches_there()
    rows = [planned.row for planned in planned_rows()]
    assert rows
    assert_none(f"{row.name}: {row.bench}" for row in rows if row.bench not in benches)


def kernel_symbols() -> dict[tuple[str, str], set[str]]:
    """The functions of each (version, file)."""
    symbols = defaultdict(set)
    with (ROOT / "tests/data/kernel_symbols.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            symbols[row["version"], row["file"]].add(row["function"])
    return dict(symbols)


def citations() -> Iterator[tuple[str, str, str, str]]:
    """(where, file, function, version) of each citation in the code and in the declarations of costs."""
    files = [path for path in python_files("model", "calibration") if path != Path("model/cost_list.py")]
    texts = [(str(path), (ROOT / path).read_text(encoding="utf-8")) for path in files]
    texts += [(f"cost {name}", f"{spec.stands_for} {spec.assumed}") for name, spec in COSTS.items()]
    for where, text in texts:
        for match in CITATION.finditer(text):
            yield where, match["file"], match["function"], match["version"]


def test_cited_functions_exist_in_the_cited_version() -> None:
    """A file that no version of the table has belongs to another project (a JDK, CPython) and is not looked up."""
    symbols = kernel_symbols()
    files = {file for _, file in symbols}
    cited = list(citations())
    assert cited
    wrong = [
        f"{where}: {file}:{function}@{version}"
        for where, file, function, version in cited
        if file in files or where.startswith(("model/kernel/", "model/hardware/"))
        if function not in symbols.get((version, file), ())
    ]
    assert_none(wrong, "tests/data/make_kernel_symbols.py adds versions and files to the table")


def test_kernel_paths_cite_their_source() -> None:
    """What takes time in model/kernel bears a kernel function's name and says where that stands."""
    names = {function for functions in kernel_symbols().values() for function in functions}
    silent = [
        f"{path}:{function.name}"
        for path in python_files("model/kernel")
        for function in functions_of(tree_of(path))
        if function in tree_of(path).body and not function.name.startswith("_") and function.name in names
        if not CITATION.search(ast.get_docstring(function) or "")
    ]
    assert_none(silent)


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Public functions and classes of a module, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from (
                    (f"{node.name}.{method.name}", method)
                    for method in node.body
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
                    if not is_declaration(method)
                )


def is_declaration(function: ast.FunctionDef) -> bool:
    """Whether the body is `...` alone: a protocol's member, which its class describes."""
    last = function.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is Ellipsis


@pytest.mark.parametrize("package", ["model", "calibration"])
def test_public_names_say_what_they_stand_for(package: str) -> None:
    files = python_files(package)
    silent = [f"{path}" for path in files if ast.get_docstring(tree_of(path)) is None]
    silent += [
        f"{path}:{name}"
        for path in files
        for name, node in public_definitions(tree_of(path))
        if ast.get_docstring(node) is None
    ]
    assert_none(silent)


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in python_files("tests") if path.name.startswith("test_")}
    assert Path("tests") in folders
    assert_none(str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file())


def text_files() -> Iterator[tuple[Path, str]]:
    """All text that belongs to the project, up to 20 MB a file; images in notebooks are no text."""
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    deep = [path for name in (*FOLDERS, ".ci", ".locks") for path in (ROOT / name).rglob("*") if path.is_file()]
    for path in top + deep:
        if "__pycache__" in path.parts or path.suffix in (".png", ".gz", ".xz") or path.stat().st_size > 20_000_000:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield path.relative_to(ROOT), re.sub(r'("image/png": )"[^"]*"', r'\1""', text)


def test_the_text_speaks_of_its_subject_only() -> None:
    seen = 0
    unwanted = []
    for path, text in text_files():
        seen += 1
        for what, pattern in UNWANTED.items():
            match = re.search(pattern, text)
            if match:
                unwanted.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()}")
    assert seen > 20
    assert_none(unwanted)
