"""Run commands as a user does, within the process."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from calreg.commands.main import main

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer, which must be JSON as the standard has it."""

        def refuse(word: str) -> None:
            msg = f"{word} is no JSON"
            raise AssertionError(msg)

        return json.loads(self.out, parse_constant=refuse)

    @property
    def csv(self) -> list[dict[str, str]]:
        """The answer's rows by column."""
        return list(csv.DictReader(io.StringIO(self.out)))


@pytest.fixture
def calreg(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Return a function that runs one command line, words of any type."""
    monkeypatch.delenv("CALREG_DB", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["calreg", *map(str, words)])
        capfd.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return run
