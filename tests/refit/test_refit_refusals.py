"""What cannot be fitted is not fitted: no set, the reason stored, and no second try."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import (
    CoefficientSetRow,
    PairGroupRow,
    RefusalRow,
    ZeroPointRow,
)
from calreg.errors import DatabaseUnreachableError
from calreg.ingest.options import IngestOptions
from calreg.refit import pairing
from calreg.refit import refit as refit_module
from calreg.refit.keyfit import fit_key
from calreg.science.model.settings import FitSettings
from calreg.science.sky.geometry import sky_from_tangent_plane
from calreg.science.sky.matching import match_many_epochs
from calreg.simulation.programme import FIELD_DEC_DEG, FIELD_RA_DEG
from support.programmes import (
    Files,
    dimmed,
    planted,
    row_counts,
    small_programme,
    with_copies,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.refit.keyfit import KeyFit, KeyInputs
    from calreg.simulation.simulate import SimulatedMosaic
    from calreg.simulation.sources import SimulatedDetections


def stored_reasons(url: str) -> list[tuple[str, str, str]]:
    with open_database(url, read_only=True) as database, database.read() as connection:
        statement = sa.select(RefusalRow.band, RefusalRow.array_id, RefusalRow.reason)
        rows = connection.execute(statement.order_by(RefusalRow.id))
        return [(row.band, row.array_id, row.reason) for row in rows]


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
    """Put all sources of a patch on a line across the axis: no lever arm for a gradient."""
    detections = mosaic.detections
    n_rows = detections.number.size
    east = np.full(n_rows, -0.86 if mosaic.patch.startswith("nrca") else 0.86)
    north = np.linspace(-1.0, 1.0, n_rows)
    ra_deg, dec_deg = sky_from_tangent_plane(east, north, FIELD_RA_DEG, FIELD_DEC_DEG)
    return replace(
        detections, ra_deg=ra_deg, ra_win_deg=ra_deg, dec_deg=dec_deg, dec_win_deg=dec_deg
    )


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


def with_card(path: Path, folder: Path, name: str, value: str) -> Path:
    """Copy a mosaic with another value of a card."""
    folder.mkdir(exist_ok=True)
    content = path.read_bytes()
    pattern = rb"%-8s= .{70}" % name.encode()
    cards = set(re.findall(pattern, content))
    assert cards
    for card in cards:
        other = b"%-8s= %20s" % (name.encode(), value.encode())
        content = content.replace(card, other.ljust(80))
    content = content.replace(b"'HDRTAB", b"'OTHERS")  # its members have the old value
    (folder / path.name).write_bytes(content)
    return folder / path.name


def made_by(files: Files, version: str, epoch: int, folder: Path) -> list[Path]:
    """Return a programme's files with the mosaics of one epoch from another pipeline version."""
    mosaics = files.select(epoch=epoch, suffix=".fits")
    others = [with_card(path, folder, "CAL_VER", f"'{version:<8}'") for path in mosaics]
    return [path for path in files.paths if path not in mosaics] + others


def recalibrated_to(photmjsr: float, files: Files, folder: Path) -> list[Path]:
    """Return a programme's files with another PHOTMJSR of A in epoch 2, mosaic and catalog last."""
    old = [*files.select(epoch=2, array="nrcalong", suffix=".fits")]
    old += files.select(epoch=2, array="nrcalong", suffix=".cat")
    new = [with_card(path, folder, "PHOTMJSR", str(photmjsr)) for path in old]
    return [*(path for path in files.paths if path not in old), *new]


def test_one_context_with_two_calibrations(db_url: str, tmp_path: Path) -> None:
    """PHOTMJSR of A differs between the epochs: warned of at once, never fitted, listed."""
    files = write_files(small_programme(bands=("F444W",), n_epochs=2), tmp_path / "files")
    paths = recalibrated_to(0.5, files, tmp_path / "other")
    with Registry(db_url) as registry:
        ingested = registry.ingest(paths)
        assert ingested.refused == []
        (warning,) = [text for one in ingested.loaded for text in one.warnings]
        (reason,) = refuse(registry)
        problems = registry.check()
        assert registry.coefficients() == []
        for text in (warning, reason, problems[0].message):
            assert re.search(r"nrcalong F444W: PHOTMJSR is 0\.\d+ \(.*\) and 0\.5 \(.*\)", text)
            assert paths[-2].name in text
        assert [str(one.kind) for one in problems] == ["calibration"]


def test_values_of_a_photom_file_that_depends_on_time_are_no_conflict(
    db_url: str, tmp_path: Path
) -> None:
    files = write_files(small_programme(bands=("F444W",), n_epochs=2), tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(recalibrated_to(0.5, files, tmp_path / "other"))
        assert len(registry.refit().refused) == 1
        with open_database(db_url) as database, database.write() as connection:
            table = ZeroPointRow.__table__
            is_a = table.c.array == "nrcalong"
            connection.execute(sa.update(table).where(is_a).values(kind="timed"))
        assert registry.check() == []
        assert len(registry.refit().fitted) == 1


def test_eras_of_the_pipeline_never_meet_in_one_fit(db_url: str, tmp_path: Path) -> None:
    """Mosaics of jwst 1.19 read low beside those of 1.20."""
    files = write_files(small_programme(bands=("F444W",), n_epochs=2), tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(made_by(files, "1.20.1", 2, tmp_path / "new"))
        (reason,) = refuse(registry)
        assert re.search(r"CAL_VER is 1\.\S+ \(.*_i2d.fits\) and 1\.20\.1 \(.*read low", reason)
        assert "jwst#9246" in reason
        assert "--allow-mixed-software" in reason
        report = registry.refit(FitSettings(allow_mixed_software=True))
        assert len(report.fitted) == 1
        (warning,) = report.warnings
        assert re.search(r"CAL_VER 1\.\S+ and 1\.20\.1, of several eras \(1 new sets\)", warning)
    with open_database(db_url, read_only=True) as database, database.read() as connection:
        (settings,) = connection.scalars(sa.select(CoefficientSetRow.settings))
        assert '"allow_mixed_software":true' in settings


def test_other_versions_of_one_era_are_told(db_url: str, tmp_path: Path) -> None:
    files = write_files(small_programme(bands=("F444W",), n_epochs=2), tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(made_by(files, "1.13.4", 2, tmp_path / "new"))
        report = registry.refit(FitSettings(allow_mixed_software=True))
        assert len(report.fitted) == 1
        (warning,) = report.warnings
        assert re.search(r"made by CAL_VER 1\.\S+ and 1\.13\.4 \(1 new sets\)", warning)
        # Where nothing is mixed the option changes nothing.
        assert len(registry.refit().unchanged) == 1


def recalibrated(path: Path, folder: Path) -> Path:
    """Copy a mosaic as another version of the pipeline would write it."""
    folder.mkdir()
    content = path.read_bytes()
    card = re.search(rb"CAL_VER = '([0-9.]+) *'", content)
    assert card is not None
    other = card[0].replace(card[1], b"9" + card[1][1:])
    (folder / path.name).write_bytes(content.replace(card[0], other))
    return folder / path.name


def test_two_reductions_of_one_epoch(db_url: str, tmp_path: Path) -> None:
    programme = small_programme(bands=("F444W",), n_epochs=2)
    files = write_files(programme, tmp_path / "files")
    (original,) = files.select(epoch=1, array="nrcalong", suffix=".fits")
    # The other reduction gave the same sources, a little brighter.
    brighter = write_files(planted(programme, all_brighter), tmp_path / "brighter")
    (catalog,) = brighter.select(epoch=1, array="nrcalong", suffix=".cat")
    mosaic = recalibrated(original, tmp_path / "again")
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        registry.refit()
        before = registry.coefficients()
        report = registry.ingest([mosaic, catalog], IngestOptions(image=mosaic))
        assert report.refused == []
        (reason,) = refuse(registry)
        assert re.search(r"nrcalong .* CAL_VER [0-9.]+ and 9", reason)
        # What was answered before is still the answer.
        assert registry.coefficients() == before


def all_brighter(mosaic: SimulatedMosaic) -> SimulatedDetections:
    return dimmed(mosaic.detections, np.arange(mosaic.detections.number.size), -0.01)


def test_a_refusal_does_not_stop_the_others(db_url: str, small_files: Files) -> None:
    missing = small_files.select(array="nrcb3")
    with Registry(db_url) as registry:
        registry.ingest([path for path in small_files.paths if path not in missing])
        report = registry.refit()
        assert len(report.fitted) == 4
        # nrca3 meets itself at equal rolls, but never nrcb3.
        assert [outcome.array_id for outcome in report.waiting] == ["3"]
        assert report.refused == []


def test_what_goes_wrong_with_one_key_is_its_refusal(
    db_url: str, small_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fits, rows and matches that fail end neither the other keys nor the command."""
    with Registry(db_url) as registry:
        registry.ingest(list(small_files.paths))

        def no_fit(inputs: KeyInputs, *rest: object) -> KeyFit:
            if inputs.images[0].array_id == "2":
                raise ZeroDivisionError("by an error of 0")
            found = fit_key(inputs, *rest)  # type: ignore[arg-type]
            if inputs.images[0].array_id == "3":
                return replace(found, row=found.row | {"n_pairs": -1})
            return found

        monkeypatch.setattr(refit_module, "fit_key", no_fit)
        first = registry.refit()
        assert [(one.array_id, one.is_new) for one in first.refused] == [("2", True), ("3", True)]
        assert "the fit failed: ZeroDivisionError: by an error of 0" in first.refused[0].reason
        assert "rows contradict the registry's rules" in first.refused[1].reason
        assert [one.array_id for one in first.fitted] == ["1", "4", "long"]
        before = row_counts(registry)
        second = registry.refit()
        assert row_counts(registry) == before
        assert [one.is_new for one in second.refused] == [False, False]
        assert second.fitted == []
        monkeypatch.undo()
        # What was not foreseen is tried again: another version of calreg may do better.
        assert [one.array_id for one in registry.refit().fitted] == ["2", "3"]
        assert registry.check() == []


def test_a_match_that_fails_is_its_keys_refusal(
    db_url: str, small_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_match(catalogs: Any, wanted: Any, max_sep_arcsec: float) -> Any:
        if next(turns) == 1:
            raise ValueError("positions are not finite")
        return match_many_epochs(catalogs, wanted, max_sep_arcsec)

    turns = count()
    with Registry(db_url) as registry:
        registry.ingest(list(small_files.paths))
        monkeypatch.setattr(pairing, "match_many_epochs", no_match)
        report = registry.refit()
        (refused,) = report.refused
        assert refused.reason.startswith("the fit failed: ValueError: positions are not finite")
        assert len(report.fitted) == 4
        turns, before = count(1), row_counts(registry)
        assert not registry.refit().refused[0].is_new
        assert row_counts(registry) == before
        monkeypatch.undo()
        assert [one.array_id for one in registry.refit().fitted] == [refused.array_id]


def test_an_interrupt_or_a_lost_database_ends_the_command(
    db_url: str, small_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    causes = (KeyboardInterrupt(), DatabaseUnreachableError("the server is gone"))
    with Registry(db_url) as registry:
        registry.ingest(list(small_files.paths))
        before = row_counts(registry)
        for cause in causes:

            def end(*_: object, cause: BaseException = cause) -> None:
                raise cause

            monkeypatch.setattr(refit_module, "fit_key", end)
            with pytest.raises(type(cause)):
                registry.refit()
            assert row_counts(registry) == before


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
    assert row.offset_ab_mag == pytest.approx(expected.offset_ab_mag, abs=row.offset_ab_err_mag)
    with open_database(db_url, read_only=True) as database, database.read() as connection:
        stored = connection.scalar(sa.select(sa.func.sum(PairGroupRow.n_ambiguous)))
    assert stored == report.pairing.n_ambiguous


_ROLL_CARDS = ("PA_V3", "ROLL_REF")


def turned(path: Path, folder: Path) -> Path:
    """Copy a mosaic as if its epoch had been taken at a quarter turn of roll."""
    folder.mkdir(exist_ok=True)
    content = path.read_bytes()
    for name in _ROLL_CARDS:
        for card in set(re.findall(rb"%-8s= +[-+0-9.E]+" % name.encode(), content)):
            value = float(card.split(b"=")[1])
            other = b"%-8s= %20s" % (name.encode(), repr((value + 90.0) % 360.0).encode())
            assert len(other) == len(card) == 30
            content = content.replace(card, other)
    (folder / path.name).write_bytes(content)
    return folder / path.name


def test_a_quarter_turn_is_noted_and_left_apart(db_url: str, tmp_path: Path) -> None:
    files = write_files(small_programme(bands=("F444W",)), tmp_path / "files")
    mosaics = [turned(path, tmp_path / "turned") for path in files.select(epoch=3, suffix=".fits")]
    with Registry(db_url) as registry:
        registry.ingest(files.select(epoch=1) + files.select(epoch=2))
        registry.refit()
        before = registry.coefficients()
        report = registry.ingest(mosaics + files.select(epoch=3, suffix=".cat"))
        assert report.refused == []
        again = registry.refit()
        assert registry.coefficients() == before
    assert again.fitted == []
    assert len(again.unchanged) == 1
    assert again.pairing.n_groups == 0
    assert again.pairing.notes
    for note in again.pairing.notes:
        assert re.search(r"rolls [0-9.]+ and [0-9.]+ deg are neither equal nor opposite", note)
