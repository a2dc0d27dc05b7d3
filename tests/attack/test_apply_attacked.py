"""Files are looked at before any is written, and what is written is recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.apply.options import ApplyOptions
from calreg.db.engine import open_database
from calreg.db.schema import ApplicationRow
from calreg.errors import FilesRefusedError, OutputError
from calreg.files.corrected import rewrite
from support.bombs import deep_tree
from support.correctedfiles import SCALED, write_exposure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calreg.files.corrected.exposure import CalFile

IN_PLACE = ApplyOptions(is_in_place=True)


def exposure(path: Path, **options: object) -> Path:
    primary = {"DETECTOR": "NRCALONG", "FILTER": "F444W"}
    return write_exposure(path, primary=dict(primary), **options)  # type: ignore[arg-type]


def recorded(url: str) -> list[tuple[str, str]]:
    table = ApplicationRow.__table__
    with open_database(url) as database, database.read() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.id))
        return [(row.kind, row.file_name) for row in rows]


def without_pixels(path: Path) -> Path:
    nothing = np.zeros((0, 48), dtype=np.float32)
    return exposure(path, planes=dict.fromkeys((*SCALED, "DQ", "AREA"), nothing),
                    science={"S_REGION": "POLYGON ICRS 265 65 266 65 266 66"})  # fmt: skip


def nested(path: Path) -> Path:
    return deep_tree(exposure(path))


@pytest.mark.parametrize("write", [without_pixels, nested])
def test_a_bad_file_is_refused_before_another_is_written(
    small_url: str, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    good, bad = exposure(tmp_path / "a_cal.fits"), write(tmp_path / "b_cal.fits")
    before = good.read_bytes(), bad.read_bytes()
    with Registry(small_url) as registry:
        with pytest.raises(FilesRefusedError, match="nothing was written") as caught:
            registry.apply([good, bad], IN_PLACE)
        with pytest.raises(FilesRefusedError):
            registry.undo([good, bad])
    assert [text.startswith(f"{bad}: ") for text in caught.value.refusals] == [True]
    assert (good.read_bytes(), bad.read_bytes()) == before
    assert recorded(small_url) == []


def test_a_name_that_is_not_utf_8(small_url: str, tmp_path: Path) -> None:
    paths = [exposure(tmp_path / name) for name in ("a_cal.fits", os.fsdecode(b"b\xff_cal.fits"))]
    with Registry(small_url) as registry:
        registry.apply(paths, IN_PLACE)
        assert recorded(small_url) == [("apply", "a_cal.fits"), ("apply", "b\\xff_cal.fits")]
        assert registry.check() == []
        registry.undo(paths)
        assert recorded(small_url)[2:] == [("undo", "a_cal.fits"), ("undo", "b\\xff_cal.fits")]
        assert registry.check() == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError:"),
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread"),
        (SystemExit(1), "SystemExit: 1"),
    ],
)
def test_what_is_written_is_recorded_whatever_ends_the_call(
    small_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    reason: str,
) -> None:
    paths = [exposure(tmp_path / f"{name}_cal.fits") for name in "ab"]
    before = paths[1].read_bytes()
    opened = rewrite._write  # noqa: SLF001 - where it fails

    def fail_at_b(raw: object, cal: CalFile, *rest: object) -> object:
        if cal.path == paths[1]:
            raise error
        return opened(raw, cal, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(rewrite, "_write", fail_at_b)
    with Registry(small_url) as registry:
        with pytest.raises(OutputError, match=f"^{reason}") as caught:
            registry.apply(paths, IN_PLACE)
        assert "1 files before it are done and recorded, others as before" in str(caught.value)
        assert recorded(small_url) == [("apply", "a_cal.fits")]
        assert paths[1].read_bytes() == before
        assert not list(tmp_path.glob(".calreg-*"))
        assert registry.check() == []
