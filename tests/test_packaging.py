"""What is built from the checkout works without it, and the set-up files are in order."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

from calreg import __version__

ROOT = Path(__file__).resolve().parent.parent

RUN_MAIN = """
import sys
import calreg
from calreg.commands.main import main
print(calreg.__file__, file=sys.stderr)
main()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from the sdist; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation: hatchling is in the test extra, and tests use no network.
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.unpack_archive(wheel, folder, format="zip")
    return folder


def pyproject() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


CONSTRAINTS = ("constraints.txt", "constraints-pipeline.txt")
PIPELINE_EXTRAS = {"validate", "pipeline"}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonical(name): version for name, version in pairs}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_wheel_holds_the_package_the_migrations_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "calreg").rglob("*")
        if path.is_file() and path.suffix in {".py", ".toml", ".typed"}
    }
    migrations = {
        f"calreg/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and path.suffix in {".py", ".mako"}
    }
    assert "calreg/migrations/env.py" in migrations
    assert "calreg/migrations/versions/0001_initial.py" in migrations
    assert {"calreg/instruments/nircam.toml", "calreg/py.typed"} <= sources
    assert names >= sources | migrations
    assert {name.split("/")[0] for name in names} == {"calreg", f"calreg-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_wheel_metadata(unpacked: Path) -> None:
    folder = unpacked / f"calreg-{__version__}.dist-info"
    metadata = Parser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Name"] == "calreg"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert set(metadata.get_all("Provides-Extra", [])) >= {"arrow", "dev", "postgres", "test"}
    core = {
        re.split(r"[<>=\[; ]", line)[0]
        for line in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in line
    }
    assert core == {"alembic", "astropy", "numpy", "rich", "scipy", "sqlalchemy", "typer"}
    entry_points = (folder / "entry_points.txt").read_text(encoding="utf-8")
    assert "calreg = calreg.commands.main:main" in entry_points


def test_sdist_holds_the_top_level(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert {top for top in tops if not top.startswith(".")} == {
        "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO",
        "README.md", "benchmarks", "calreg",
        "cli.py", "constraints-pipeline.txt", "constraints.txt", "migrations", "pyproject.toml",
        "tests",
    }  # fmt: skip


def test_wheel_initialises_a_database_without_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "CALREG_DB"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_MAIN, "--db", "sqlite:///x.sqlite", "db", "init"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == str(unpacked / "calreg" / "__init__.py")
    with sqlite3.connect(tmp_path / "x.sqlite") as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert {"pmaps", "exposures", "detections"} <= {name for (name,) in rows}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_are_exact_and_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert list(pins(name)) == sorted(pins(name))
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_requirement_is_pinned(name: str) -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(project["dependencies"], list)
    # The two environments: calreg[dev], and calreg[test,pipeline].
    left_out = PIPELINE_EXTRAS if name == "constraints.txt" else {"dev"}
    assert set(extras) >= left_out
    items = [item for extra in set(extras) - left_out for item in extras[extra]]
    wanted = [*project["dependencies"], *items]
    names = {canonical(re.split(r"[<>=\[; ]", item)[0]) for item in wanted} - {"calreg"}
    assert len(names) > 20
    assert names - set(pins(name)) == set()


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    make = shutil.which("make")
    assert make is not None, "make is one of the two things that calreg's set-up needs"
    for target in ("test", "demo", "lint", "test-pipeline"):
        venv = tmp_path / "venv"
        done = subprocess.run(
            [make, f"PYTHON={old}", f"VENV={venv}", f"PIPELINE_VENV={venv}", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "calreg needs Python 3.11 or newer" in done.stderr
        assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_make_help_lists_the_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")}
    assert listed == {
        "help", "demo", "test", "test-pipeline", "coverage", "attack", "lint", "types", "bench",
        "clean",
    }  # fmt: skip


def test_ci_runs_the_same_commands() -> None:
    path = ROOT / ".ci" / "run"
    if not path.exists():
        pytest.skip("an unpacked sdist has no .ci/run")
    assert os.access(path, os.X_OK)
    text = path.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    for command in ("test", "test-pipeline", "lint types"):
        assert re.search(rf'^make PYTHON="\$python" {command}$', text, flags=re.MULTILINE)
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_pre_commit_runs_what_make_lint_runs() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    if not path.exists():
        pytest.skip("an unpacked sdist has no .pre-commit-config.yaml")
    hooks = yaml.safe_load(path.read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nlint:")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(entries) == len(recipe) == 4
    for entry, line in zip(entries, recipe, strict=True):
        assert f"$(BIN)/{entry}" in line


def test_the_hosted_workflow_calls_the_script_of_ci() -> None:
    path = ROOT / ".github" / "workflows" / "ci.yml"
    if not path.exists():
        pytest.skip("an unpacked sdist has no .github")
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]["all"]["steps"]
    assert [step["run"].split()[-2:] for step in steps if "run" in step] == [["bash", ".ci/run"]]


def test_citation_names_the_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == __version__
    assert citation["preferred-citation"]["identifiers"][0]["value"] == "arXiv:2311.13754"


def test_the_bug_form_asks_for_stats_and_the_file() -> None:
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml"
    if not path.exists():
        pytest.skip("an unpacked sdist has no .github")
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    asked = {item["id"]: item["attributes"] for item in form["body"]}
    assert "calreg db stats" in asked["stats"]["description"]
    assert {"what", "stats", "file"} <= asked.keys()
