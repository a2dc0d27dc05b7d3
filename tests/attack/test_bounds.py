"""Counts and depths are not trusted: small files that say they hold very much are refused.

Each goes through every door that reads its form; none takes more memory or time than any other
damaged file may.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from support import bombs
from support.attackdoors import TARGETS, target_file
from support.attackworkers import as_ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.attackworkers import Attacker

FIELDS_OF = (
    *("sextractor.ldac", "sextractor_1.0.fits", "nulls.fits", "photom.fits"),
    *("parents/nrcalong.fits", "members_i2d.fits", "corrected_cal.fits", "sky_i2d.fits"),
)
COUNTS = (1000, 2**31, 2**63)


def assert_refused(attacker: Attacker, file: str, contents: dict[str, bytes]) -> None:
    """Send files through the doors of a target; every door refuses each."""
    target = next(one for one in TARGETS if one.file == file)
    inputs = [(n, content, name) for n, (name, content) in enumerate(contents.items())]
    outcome = attacker.send(target, inputs)
    assert not outcome.failures, as_ledger(outcome.failures)
    assert outcome.n_refused > 0


def healthy(attacker: Attacker, file: str) -> bytes:
    """Return the healthy file of a target."""
    target = next(one for one in TARGETS if one.file == file)
    return (attacker.battlefield.corpus / target_file(target)).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("file", FIELDS_OF)
def test_number_of_columns(attacker: Attacker, file: str) -> None:
    content = healthy(attacker, file)
    n_tables = content.count(b"TFIELDS = ")
    contents = {
        f"TFIELDS {n} of {n_fields}": bombs.with_card(content, "TFIELDS", n_fields, n=n)
        for n in range(n_tables)
        for n_fields in COUNTS
    }
    assert_refused(attacker, file, contents)


@pytest.mark.slow
@pytest.mark.parametrize("keyword", ["NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "THEAP"])
@pytest.mark.parametrize("file", ["sextractor.ldac", "nulls.fits", "apply_cal.fits"])
def test_sizes(attacker: Attacker, file: str, keyword: str) -> None:
    content = healthy(attacker, file)
    name = keyword.ljust(8).encode() + b"= "
    contents = {
        f"{keyword} {n} of {value}": bombs.with_card(content, keyword, value, n=n)
        for n in range(content.count(name))
        for value in (0, 999, 2**31, 2**63, 10**30)
    }
    if contents:
        assert_refused(attacker, file, contents)


MADE: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "Parquet of 10**8 rows": ("plain.parquet", bombs.many_rows),
    "deep VOTable": ("votable.xml", bombs.deep_votable),
    "entities": ("votable.xml", bombs.votable_of_entities),
    "gzip": ("votable.xml", bombs.gzipped_votable),
    "deep ECSV": ("pipeline_cat.ecsv", bombs.deep_ecsv),
    "deep recipe": ("recipe.ecsv", bombs.deep_ecsv),
    "deep mapping": ("contexts/mappings/jwst/jwst_1200.pmap", bombs.deep_mapping),
    "deep rmap": ("cache/mappings/jwst/rmap", bombs.deep_mapping),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_files_made_to_be_large(attacker: Attacker, name: str, tmp_path: Path) -> None:
    file, make = MADE[name]
    content = make(tmp_path / "made").read_bytes()
    assert_refused(attacker, file, {name: content})


CHANGED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "deep tree": ("corrected_cal.fits", bombs.deep_tree),
    "deep tree to apply": ("apply_cal.fits", bombs.deep_tree),
    "deep tree to drizzle": ("gwcs_cal.fits", bombs.deep_tree),
    "aliases": ("gwcs_cal.fits", bombs.aliased_tree),
    "compressed": ("gwcs_cal.fits", bombs.compressed_zeros),
    "compressed mosaic": ("sky_i2d.fits", bombs.compressed_zeros),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_images_made_to_be_large(attacker: Attacker, name: str, tmp_path: Path) -> None:
    file, change = CHANGED[name]
    path = tmp_path / "changed.fits"
    shutil.copyfile(attacker.battlefield.corpus / file, path)
    assert_refused(attacker, file, {name: change(path).read_bytes()})
