"""The command line explains itself, quickly, and the README knows every command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main

from calreg.commands.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("alembic", "astropy", "matplotlib", "numpy", "pyarrow", "scipy", "sqlalchemy")

# Prints what --help has imported, after the help itself.
PROBE = """
import json, sys
from calreg.commands.main import main
sys.argv = ["calreg", *sys.argv[1:]]
status = 0
try:
    main()
except SystemExit as stop:
    status = stop.code or 0
modules = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({"status": status, "modules": modules}))
"""


def leaf_commands(
    command: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from leaf_commands(child, (*path, name))


def commands() -> dict[tuple[str, ...], Any]:
    return dict(leaf_commands(typer.main.get_command(app)))


def names_command(path: tuple[str, ...], text: str) -> bool:
    """Whether a text has an invocation such as ``calreg --db URL db init``."""
    options = r"(?:\s+--[\w-]+(?:[ =]\S+)?)*"
    words = r"\s+".join(path)
    return re.search(rf"\bcalreg{options}\s+{words}\b", text) is not None


def test_help_is_light() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "--help"], capture_output=True, text=True, check=True
    )
    *text, last = done.stdout.splitlines()
    probe = json.loads(last)
    assert probe["status"] == 0
    assert any("Usage" in line for line in text)
    assert "typer" in probe["modules"]
    assert [name for name in HEAVY if name in probe["modules"]] == []


def test_every_command_has_help_with_an_example() -> None:
    without = [
        " ".join(path)
        for path, command in commands().items()
        if not names_command(path, command.help or "")
    ]
    assert without == []


def test_every_option_has_help() -> None:
    without = [
        f"{' '.join(path)} {param.name}"
        for path, command in commands().items()
        for param in command.params
        if param.name != "help" and not getattr(param, "help", None)
    ]
    assert without == []


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [" ".join(path) for path in commands() if not names_command(path, readme)] == []
