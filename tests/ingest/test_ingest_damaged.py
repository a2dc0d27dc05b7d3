"""Files damaged at random: each loads or is refused in one line, and none stops the others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.errors import FileFormatError
from calreg.files.readguard import refuse_damaged
from support.catalogfiles import (
    generic_table,
    write_ascii_catalog,
    write_csv,
    write_fits_catalog,
    write_jwst_catalog,
    write_ldac_catalog,
)
from support.fitsimages import write_image
from support.synthetic import exposure_rows, ingest_all

if TYPE_CHECKING:
    from collections.abc import Callable

N_PER_FORMAT = 40
IMAGE = "good_i2d.fits"
PRINTABLE = bytes(range(0x20, 0x7F))

FORMATS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "cal": ("_cal.fits", write_image),
    "i2d": ("_i2d.fits", lambda path: write_image(path, member_contexts=["jwst_1130.pmap"] * 3)),
    "FITS_LDAC": (".cat", lambda path: write_ldac_catalog(path, IMAGE)),
    "FITS_1.0": (".fits", lambda path: write_fits_catalog(path, IMAGE)),
    "ASCII_HEAD": (".cat", write_ascii_catalog),
    "jwst": ("_cat.ecsv", write_jwst_catalog),
    "CSV": (".csv", write_csv),
    "VOTable": (".xml", lambda path: generic_table().write(path, format="votable")),
    "Parquet": (".parquet", lambda path: generic_table().write(path, format="parquet")),
}


def damage(raw: bytes, generator: random.Random) -> bytes:
    """Change a few bytes anywhere or to printable ones in the header; cut; leave out; repeat."""
    content = bytearray(raw)
    where = generator.randrange(len(content))
    match generator.randrange(5):
        case 0:
            for _ in range(3):
                content[generator.randrange(len(content))] = generator.randrange(256)
        case 1:
            for _ in range(4):
                start = generator.randrange(min(len(content), 9000))
                content[start] = generator.choice(PRINTABLE)
        case 2:
            del content[where:]
        case 3:
            del content[where : where + generator.randint(1, 200)]
        case _:
            content[where:where] = content[: generator.randint(1, 100)]
    return bytes(content)


def test_damaged_files_stop_nobody(db_url: str, tmp_path: Path) -> None:
    generator = random.Random(11)  # noqa: S311 - seeded damage
    folder = tmp_path / "data"
    folder.mkdir()
    paths = []
    for form, (ending, write) in FORMATS.items():
        original = tmp_path / f"original{ending}"
        write(original)
        raw = original.read_bytes()
        original.unlink()
        for number in range(N_PER_FORMAT):
            paths.append(folder / f"{form}{number}{ending}")
            paths[-1].write_bytes(damage(raw, generator))
    good = write_image(folder / IMAGE, primary={"OBSERVTN": "999"})
    report = ingest_all(db_url, [*paths, good])
    outcomes = [*report.loaded, *report.unchanged, *report.refused]
    assert sorted(outcome.path for outcome in outcomes) == sorted([*paths, good])
    assert good in [outcome.path for outcome in report.loaded]
    for outcome in report.refused:
        assert outcome.message.startswith(f"{outcome.path}: ")
        assert "\n" not in outcome.message
    # Damage where nothing is read, such as in pixels, is not noticed; most of it is.
    assert len(report.refused) > len(paths) / 2
    assert IMAGE in [row["file_name"] for row in exposure_rows(db_url)]
    with Registry(db_url) as registry:
        assert registry.check() == []


def test_what_a_library_raises_becomes_one_line() -> None:
    message = r"a.fits: cannot be read \(KeyError: 'x'\): it is damaged"
    with pytest.raises(FileFormatError, match=message) as caught, refuse_damaged(Path("a.fits")):
        raise KeyError("x")
    assert isinstance(caught.value.__cause__, KeyError)
