"""What each kind of command may import: nobody waits for what their command does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import simulate_jwidf

if TYPE_CHECKING:
    from pathlib import Path

# Prints the packages and the rooms of calreg that a command has imported.
PROBE = """
import json, sys
from calreg.commands.main import main
status = 0
try:
    main()
except SystemExit as stop:
    status = stop.code or 0
names = {name.partition(".")[0] for name in sys.modules}
rooms = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("calreg.")}
print(json.dumps([status, sorted(names), sorted(rooms)]))
"""

# What Typer brings along, and what site-packages put into any process by themselves.
COMMAND = {
    "annotated_doc",
    "annotated_types",
    "calreg",
    "cython_runtime",
    "pydantic",
    "pydantic_core",
    "shellingham",
    "typer",
    "typing_extensions",
    "typing_inspection",
}
TABLE = COMMAND | {"greenlet", "rich", "sqlalchemy"}
ARRAYS = TABLE | {"numpy"}
CHECKING = ARRAYS | {"alembic", "mako", "markupsafe", "pygments"}

PARSING = {"calreg._version", "calreg.commands", "calreg.errors"}
OPEN = PARSING | {
    "calreg.db",
    "calreg.domain",
    "calreg.instruments",
    "calreg.registry",
    "calreg.science",
    "calreg.units",
}
CONTEXTS = OPEN | {"calreg.contexts"}
REFIT = OPEN | {"calreg.contexts", "calreg.files", "calreg.flags", "calreg.refit"}
INGEST = OPEN | {"calreg.contexts", "calreg.files", "calreg.ingest"}

KEY = ("--band", "F444W", "--array", "long")
CASES = {
    "help": (("--help",), COMMAND, PARSING),
    "coefficients": (("coefficients",), TABLE, OPEN | {"calreg.sets"}),
    "history": (("history", *KEY), TABLE, CONTEXTS),
    "predict": (("predict", "--from", "1039", "--to", "1130"), TABLE, CONTEXTS),
    "pmap list": (("pmap", "list"), TABLE, CONTEXTS),
    "offsets": (("offsets",), ARRAYS, OPEN | {"calreg.refit"}),
    "db stats": (("db", "stats"), TABLE, OPEN),
    "db check": (("db", "check"), CHECKING, OPEN | {"calreg.files", "calreg.refit"}),
    "refit": (("refit",), ARRAYS, REFIT),
    "ingest": (("ingest", "{image}"), ARRAYS, INGEST),
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the URL of a registry with nothing left to fit, and an image that it knows."""
    folder = tmp_path_factory.mktemp("imports")
    url = f"sqlite:///{folder}/calreg.sqlite"
    programme = simulate_jwidf(1, bands=("F444W",), n_dithers=1, faint_per_patch=20)
    files = write_programme(programme, folder / "files")
    with Registry.create(url) as registry:
        registry.ingest(files)
        registry.refit()
    return url, next(path for path in files if path.suffix == ".fits")


@pytest.mark.parametrize("name", CASES)
def test_commands_import_what_they_use(name: str, fitted: tuple[str, Path]) -> None:
    url, image = fitted
    words, packages, rooms = CASES[name]
    command = [word.format(image=image) for word in ("--db", url, *words)]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *command], capture_output=True, text=True, check=True
    )
    status, found_packages, found_rooms = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    ours = {part for part in found_packages if part not in sys.stdlib_module_names}
    assert {part for part in ours - packages if not part.startswith("_")} == set()
    assert set(found_rooms) - rooms == set()


def test_a_missing_registry_is_told_without_what_a_question_needs(tmp_path: Path) -> None:
    command = ["--db", str(tmp_path / "none.sqlite"), "coefficients"]

    done = subprocess.run(
        [sys.executable, "-c", PROBE, *command], capture_output=True, text=True, check=True
    )
    status, packages, rooms = json.loads(done.stdout.splitlines()[-1])
    assert status == 1
    assert not {"alembic", "numpy", "rich"} & set(packages)
    assert set(rooms) <= OPEN
