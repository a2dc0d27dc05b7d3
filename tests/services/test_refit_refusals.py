"""What cannot be fitted is not fitted: no set, the reason stored, and no second try."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from programmes import (
    PMAP,
    Files,
    numbers,
    planted,
    row_counts,
    small_programme,
    with_copies,
    write_files,
)

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import PairGroupRow, RefusalRow
from calreg.flags import PairFlag
from calreg.science.settings import FitSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.science.simulate import SimulatedMosaic
    from calreg.science.simulated_catalog import SimulatedDetections


def stored_reasons(url: str) -> list[tuple[str, str, str]]:
    with open_database(url, read_only=True) as database, database.read() as connection:
        statement = sa.select(RefusalRow.band, RefusalRow.array_id, RefusalRow.reason)
        return [tuple(row) for row in connection.execute(statement.order_by(RefusalRow.id))]


def refuse(
    registry: Registry, settings: FitSettings | None = None, *, n_fitted: int = 0
) -> list[str]:
    """Refit twice; return the reasons, which the second run repeats without writing a row."""
    report = registry.refit(settings)
    assert len(report.fitted) == n_fitted
    assert report.refused
    before = row_counts(registry)
    again = registry.refit(settings)
    assert row_counts(registry) == before
    assert again.fitted == []
    reasons = [outcome.reason for outcome in report.refused]
    assert [outcome.reason for outcome in again.refused] == [
        f"{reason} (nothing new since)" for reason in reasons
    ]
    stored = stored_reasons(registry.url) if registry.url.startswith("sqlite") else None
    assert stored is None or [row[2] for row in stored][-len(reasons) :] == reasons
    return reasons


def test_too_few_pairs(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(band="F444W"))
        (reason,) = refuse(registry, FitSettings(mag_limit=18.6))
        assert re.search(
            r"too few sources .* on patch p, \d+ on patch q, expected 5 on each", reason
        )
        assert "--mag-limit" in reason
        assert registry.coefficients() == []
        # Other settings are another question.
        assert len(registry.refit().fitted) == 1
    assert [row[:2] for row in stored_reasons(db_url)] == [("F444W", "long")]


def test_no_pairs_at_all(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(band="F444W"))
        (reason,) = refuse(registry, FitSettings(snr=1e6))
    assert reason.startswith("0 pairs")


def test_a_missing_patch(db_url: str, small_files: Files) -> None:
    """A1 in epoch 1 and B1 in epoch 2 see one patch; the other one is missing."""
    files = small_files.select(epoch=1, array="nrca1") + small_files.select(epoch=2, array="nrcb1")
    others = small_files.select(epoch=1, array="nrcb1") + small_files.select(epoch=2, array="nrca1")
    with Registry(db_url) as registry:
        registry.ingest(files)
        (reason,) = refuse(registry)
        assert re.search(r"patch [pq] has no sources seen at opposite rolls, [pq] has \d+", reason)
        (patch,) = registry.offsets()
        assert (patch.offset_ab_mag, patch.time_mag) == (None, None)
        assert patch.n > 10
        registry.ingest(others)
        report = registry.refit()
        assert [(outcome.reason, outcome.version) for outcome in report.fitted] == [
            ("first fit", 1)
        ]
        assert report.refused == []
        patches = registry.offsets()
    assert all(patch.offset_ab_mag is not None for patch in patches)
    assert len(stored_reasons(db_url)) == 1


def at_one_place(mosaic: SimulatedMosaic) -> SimulatedDetections:
    """Move all sources of a patch to within 2 arcsec: no lever arm for a gradient."""
    detections = mosaic.detections
    n_rows = detections.number.size
    side = -1.0 if mosaic.patch.startswith("nrca") else 1.0
    # Between the modules' patches and as far from the middle on either side.
    changed = {}
    for suffix in ("", "_win"):
        changed[f"ra{suffix}_deg"] = np.full(n_rows, 265.02 + side * 0.04)
        changed[f"dec{suffix}_deg"] = 68.98 + np.arange(n_rows) * 2.0e-4
    return replace(detections, **changed)


def test_a_singular_system(db_url: str, tmp_path: Path) -> None:
    """All sources of each patch at one d: offset and gradient cannot be told apart."""
    programme = small_programme(bands=("F444W",), n_epochs=2, faint_per_patch=0)
    files = write_files(planted(programme, at_one_place), tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        settings = FitSettings(axis_pa_deg=90.0)
        (reason,) = refuse(registry, settings)
        assert "offset_ab" in reason
        assert "slope" in reason
        assert registry.coefficients() == []
        # Without a gradient the same data are enough.
        assert len(registry.refit(FitSettings(slope="none")).fitted) == 1


def recalibrated(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Copy mosaics as another version of the pipeline would write them."""
    folder.mkdir()
    copies = []
    for path in paths:
        content = path.read_bytes()
        card = re.search(rb"CAL_VER = '([0-9.]+) *'", content)
        assert card is not None
        changed = card[0].replace(card[1], b"9" + card[1][1:])
        copies.append(folder / path.name)
        copies[-1].write_bytes(content.replace(card[0], changed))
    return copies


def test_two_reductions_of_one_epoch(db_url: str, tmp_path: Path) -> None:
    programme = small_programme(bands=("F444W",), n_epochs=2)
    files = write_files(programme, tmp_path / "files")
    again = tmp_path / "again"
    mosaics = recalibrated(files.select(epoch=1, array="nrcalong", suffix=".fits"), again)
    for mosaic in mosaics:
        catalog = next(path for path in files.paths if path.name == f"{mosaic.stem}.cat")
        # Same rows, another file: one comment more.
        (again / catalog.name).write_bytes(catalog.read_bytes() + b" " * 2880)
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        registry.refit()
        before = registry.coefficients()
        report = registry.ingest([again])
        assert report.refused == []
        (reason,) = refuse(registry)
        assert re.search(r"nrcalong .* CAL_VER [0-9.]+ and 9", reason)
        # What was answered before is still the answer.
        assert registry.coefficients() == before


def test_a_refusal_does_not_stop_the_others(db_url: str, small_files: Files) -> None:
    missing = small_files.select(array="nrcb3")
    with Registry(db_url) as registry:
        registry.ingest([path for path in small_files.paths if path not in missing])
        report = registry.refit()
        assert len(report.fitted) == 4
        # nrca3 meets itself at equal rolls, but never nrcb3.
        assert [outcome.array_id for outcome in report.waiting] == ["3"]
        assert report.refused == []


# --- pairs that do not count ----------------------------------------------------------------------


def with_neighbours(mosaic: SimulatedMosaic) -> SimulatedDetections:
    """Give three bright stars of epoch 2 a neighbour at 0.05 arcsec, 2 mag off their magnitude."""
    detections = mosaic.detections
    if mosaic.epoch.number != 2:
        return detections
    rows = np.flatnonzero((detections.mag_iso < 21.0) & (detections.flags == 0))[:3]
    return with_copies(detections, rows, east_arcsec=0.05, dmag=-2.0)


def test_ambiguous_pairs_are_flagged_and_left_out(db_url: str, tmp_path: Path) -> None:
    programme = small_programme(bands=("F444W",), n_epochs=2)
    clean = write_files(programme, tmp_path / "clean")
    files = write_files(planted(programme, with_neighbours), tmp_path / "files")
    with Registry.create(str(tmp_path / "clean.sqlite")) as registry:
        registry.ingest(list(clean.paths))
        reference = registry.refit()
        (expected,) = registry.coefficients()
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        report = registry.refit()
        (row,) = registry.coefficients()
    n_planted = 6
    assert report.pairing.n_ambiguous == reference.pairing.n_ambiguous + n_planted
    assert row.n_pairs + row.n_clipped >= expected.n_pairs + expected.n_clipped - n_planted
    assert row.n_pairs < expected.n_pairs
    assert row.offset_ab_mag == pytest_approx(expected.offset_ab_mag, row.offset_ab_err_mag)
    with open_database(db_url, read_only=True) as database, database.read() as connection:
        stored = connection.scalar(sa.select(sa.func.sum(PairGroupRow.n_ambiguous)))
    assert stored == report.pairing.n_ambiguous
    assert int(PairFlag.AMBIGUOUS) > 0


def pytest_approx(expected: float, tolerance: float) -> object:
    import pytest

    return pytest.approx(expected, abs=tolerance)


def test_a_quarter_turn_is_noted_and_left_apart(db_url: str, small_files: Files) -> None:
    del db_url, small_files
    assert numbers is not None
    assert PMAP
