"""Check says what is mixed, what is not the registry's, and what is not corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.apply.check import CheckReport, CorrectionState, ProblemKind, check_files
from calreg.db.engine import open_database
from calreg.db.schema import ZeroPointRow
from calreg.domain import ExposureKind
from calreg.instruments import load_instrument
from support.fitsimages import write_image

if TYPE_CHECKING:
    from pathlib import Path

    from support.programmes import Prepared

REAL_EXPOSURE = "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"


def check(*paths: Path) -> CheckReport:
    """Check files without a registry."""
    return check_files(paths, None, load_instrument())


def kinds(report: CheckReport) -> list[ProblemKind]:
    return [problem.kind for problem in report.problems]


# --- files with each other ------------------------------------------------------------------------


def test_files_that_are_alike_are_one_row(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{i}_cal.fits") for i in range(3)]
    other = write_image(
        tmp_path / "b_cal.fits", primary={"DETECTOR": "NRCB1"}, science={"PHOTMJSR": 1.9}
    )
    report = check(*paths, other)
    assert report.problems == []
    assert report.notes == []
    assert report.n_files == 4
    first, second = report.rows
    assert (first.array, first.band, first.subarray, first.n_files) == ("nrca1", "F150W", "FULL", 3)
    assert (first.pmap, first.cal_ver) == ("jwst_1130.pmap", "1.12.5")
    assert first.r_photom == "jwst_nircam_photom_0153.fits"
    assert (first.photmjsr, first.pixar_sr) == (2.333, 2.29e-14)
    assert (first.kind, first.correction) == (ExposureKind.CAL, CorrectionState.NONE)
    assert (second.array, second.photmjsr, second.n_files) == ("nrcb1", 1.9, 1)


@pytest.mark.parametrize(
    ("primary", "science", "kind", "words"),
    [
        ({"CRDS_CTX": "jwst_1039.pmap"}, {}, ProblemKind.MIXED_CONTEXT, "jwst_1039.pmap (b_cal"),
        ({}, {"PHOTMJSR": 2.334}, ProblemKind.MIXED_PHOTMJSR, "2.334 (b_cal.fits)"),
        ({}, {"PIXAR_SR": 2.3e-14}, ProblemKind.MIXED_PIXAR_SR, "2.3e-14 (b_cal.fits)"),
        ({}, {"PIXAR_SR": None}, ProblemKind.MIXED_PIXAR_SR, "none (b_cal.fits)"),
    ],
)
def test_what_is_mixed(
    primary: dict[str, str | float | None],
    science: dict[str, str | float | None],
    kind: ProblemKind,
    words: str,
    tmp_path: Path,
) -> None:
    paths = [
        write_image(tmp_path / "a_cal.fits"),
        write_image(tmp_path / "b_cal.fits", primary=primary, science=science),
    ]
    report = check(*paths)
    assert kinds(report) == [kind]
    assert words in report.problems[0].message
    assert set(report.problems[0].paths) == set(paths)
    assert sum(row.n_files for row in report.rows) == 2


def test_contexts_of_different_arrays_must_agree_too(tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / "a_cal.fits"),
        write_image(
            tmp_path / "b_cal.fits", primary={"DETECTOR": "NRCB1", "CRDS_CTX": "jwst_1039.pmap"}
        ),
    ]
    assert kinds(check(*paths)) == [ProblemKind.MIXED_CONTEXT]


def test_what_does_not_count_as_mixed(tmp_path: Path) -> None:
    """The rounding of a float32, other subarrays, and the pixels of mosaics."""
    paths = [
        write_image(tmp_path / "a_cal.fits"),
        write_image(tmp_path / "b_cal.fits", science={"PHOTMJSR": 2.333 * (1.0 + 6e-8)}),
        write_image(
            tmp_path / "c_cal.fits", primary={"SUBARRAY": "SUB160"}, science={"PHOTMJSR": 2.4}
        ),
        write_image(
            tmp_path / "d_i2d.fits", primary={"S_RESAMP": "COMPLETE"}, science={"PIXAR_SR": 8e-15}
        ),
    ]
    report = check(*paths)
    assert report.problems == []
    assert [row.correction for row in report.rows if row.kind is ExposureKind.I2D] == [
        CorrectionState.MOSAIC
    ]
    assert len(report.notes) == 1
    assert "d_i2d.fits" in report.notes[0]


@pytest.mark.parametrize(
    "science",
    [{"BUNIT": "DN/s"}, {"PHOTMJSR": None}, {"BUNIT": None}],
)
def test_photom_that_did_nothing(science: dict[str, str | None], tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits", science=science)
    report = check(path)
    assert kinds(report) == [ProblemKind.NOT_CALIBRATED]
    message = report.problems[0].message
    assert message.startswith(f"{path}: card S_PHOTOM: found ")
    assert "COMPLETE with BUNIT=" in message
    assert report.rows[0].n_files == 1


def test_files_that_are_no_calibrated_images(tmp_path: Path) -> None:
    paths = [
        write_image(
            tmp_path / "a_rate.fits",
            primary={"S_PHOTOM": None},
            science={"BUNIT": "DN/s", "PHOTMJSR": None},
        ),
        write_image(tmp_path / "b_cal.fits", primary={"PUPIL": "GRISMR", "EXP_TYPE": "NRC_WFSS"}),
        tmp_path / "nothing_cal.fits",
        tmp_path,
    ]
    truncated = write_image(tmp_path / "c_cal.fits")
    truncated.write_bytes(truncated.read_bytes()[:9000])
    report = check(*paths, truncated)
    assert kinds(report) == [ProblemKind.UNREADABLE] * 5
    for problem, path in zip(report.problems, [*paths, truncated], strict=True):
        assert problem.message.startswith(f"{path}: ")
        assert "\n" not in problem.message
    assert report.rows == []


# --- files with the registry ----------------------------------------------------------------------


def exposures(prepared: Prepared, array: str, band: str, n_files: int = 1) -> list[Path]:
    """Return exposures of the simulated programme, which were not ingested themselves."""
    folder = prepared.files.directory
    found = [
        path
        for path in sorted(folder.rglob(f"*_{array}_cal.fits"))
        if f"'{band}" in path.read_bytes()[:28800].decode("ascii", "replace")
    ]
    assert len(found) >= n_files
    return found[:n_files]


def test_what_is_not_corrected(small: Prepared) -> None:
    paths = [
        *exposures(small, "nrca1", "F200W", 2),
        *exposures(small, "nrcb1", "F200W"),
        *exposures(small, "nrcblong", "F444W"),
    ]
    with Registry(small.url, read_only=True) as registry:
        report = registry.check_files(paths)
        sets = {(row.band, row.array_id): row.set_id for row in registry.coefficients()}
    assert {row.array: row.correction for row in report.rows} == {
        "nrca1": CorrectionState.MISSING,
        "nrcb1": CorrectionState.DATUM,
        "nrcblong": CorrectionState.MISSING,  # The gradient is shared between the modules.
    }
    assert kinds(report) == [ProblemKind.NOT_CORRECTED] * 2
    first, second = report.problems
    assert first.paths == tuple(paths[:2])
    assert sets["F200W", "1"] in first.message
    assert sets["F444W", "long"] in second.message


def test_a_photmjsr_that_is_not_the_contexts(small_url: str, small: Prepared) -> None:
    path = exposures(small, "nrca1", "F200W")[0]
    with open_database(small_url) as database, database.write() as connection:
        statement = sa.update(ZeroPointRow).where(ZeroPointRow.array == "nrca1")
        connection.execute(statement.values(photmjsr=2.5))
    with Registry(small_url) as registry:
        report = registry.check_files(path)
    assert kinds(report) == [ProblemKind.OTHER_PHOTMJSR, ProblemKind.NOT_CORRECTED]
    message = report.problems[0].message
    assert message.startswith(f"{path}: PHOTMJSR is 1.964 (jwst_nircam_photom_")
    assert "2.5 (" in message
    assert "jwst_1130.pmap nrca1 F200W FULL" in message


def test_what_the_registry_does_not_know_is_noted(db_url: str, tmp_path: Path) -> None:
    with Registry(db_url) as registry:
        report = registry.check_files(write_image(tmp_path / "a_cal.fits"))
    assert report.problems == []
    assert report.notes == [
        "PHOTMJSR not compared: PHOTMJSR of nrca1 F150W under jwst_1130.pmap is not recorded"
    ]


def test_the_real_cutout(shared_data: Path) -> None:
    report = check(shared_data / REAL_EXPOSURE)
    assert report.problems == []
    row = report.rows[0]
    assert (row.array, row.band, row.subarray) == ("nrcalong", "F444W", "FULL")
    assert (row.pmap, row.cal_ver) == ("jwst_1046.pmap", "1.9.4")
    assert row.r_photom == "jwst_nircam_photom_0111.fits"
    assert (row.photmjsr, row.pixar_sr) == (0.3925000131130219, 9.31e-14)
