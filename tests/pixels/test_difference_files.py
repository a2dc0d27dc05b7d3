"""Files of difference images: what they hold, and what is refused before one is written."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits

from calreg import Registry
from calreg.db.bulk import insert_rows
from calreg.db.engine import open_database
from calreg.db.schema import ExposureRow, PmapRow
from calreg.domain import Pmap
from calreg.errors import (
    ConflictError,
    InvalidValueError,
    NoCalibrationError,
    OutputError,
    UnknownKeyError,
    UnsupportedDataError,
)
from calreg.files.fits.headers import read_headers
from calreg.files.images.planes import open_image, read_planes
from support.differencefixtures import (
    E1,
    E2,
    E3,
    assert_within,
    make,
    one_mosaic,
    replaced,
    set_columns,
)
from support.differenceworld import NOISE_MJY_SR, World

if TYPE_CHECKING:
    from support.programmes import Prepared

# --- the files ------------------------------------------------------------------------------------


def test_fits_file_holds_planes_inputs_and_direction(
    on_sqlite: Prepared, long_world: World, tmp_path: Path
) -> None:
    report = make(on_sqlite.url, tmp_path)
    assert [Path(file).name for file in report.files] == [
        f"JWIDF_F444W_jwst_1130_{E1}_{E2}_diff.{ending}" for ending in ("fits", "png")
    ]
    assert Path(report.files[1]).read_bytes().startswith(b"\x89PNG")
    with Registry(on_sqlite.url) as registry:
        (stored,) = registry.coefficients(band="F444W")
    with fits.open(report.files[0]) as hdus:
        hdus.verify("exception")
        names = [hdu.name for hdu in hdus]
        header = hdus[0].header
        inputs = [dict(zip(row.array.names, row, strict=True)) for row in hdus["INPUTS"].data]
        residuals = hdus["RESIDUALS"].data
    assert names[1:] == [
        "BEFORE",
        "AFTER",
        "ERR",
        "BEFORE_SMOOTHED",
        "AFTER_SMOOTHED",
        "HALF",
        "INPUTS",
        "RESIDUALS",
    ]
    expected = {
        "FIELD": "JWIDF",
        "BAND": "F444W",
        "CRDS_CTX": "jwst_1130.pmap",
        "EPOCH_A": E1,
        "EPOCH_B": E2,
        "DIRECTN": "EPOCH_B - EPOCH_A",
        "SMOOTHPX": 6,
        "CORRECTD": True,
        "HALF1": "A then B",
        "HALF2": "B then A",
    }
    assert {name: header[name] for name in expected} == expected
    # The mosaics, as the registry has them, and the set that corrects them.
    assert {row["FILENAME"] for row in inputs} == {
        mosaic.file_name for mosaic in long_world.programme.mosaics if mosaic.epoch.number < 3
    }
    by_name = {path.name: path for path in long_world.paths}
    for row in inputs:
        assert row["DIGEST"] == read_headers(by_name[row["FILENAME"]]).sha256
        assert row["SET_ID"] == stored.set_id
        assert row["DATUM"] == stored.datum
        is_a = row["DETECTOR"] == "NRCALONG"
        assert (row["FACTOR"] > 1.01) == is_a
    assert residuals["BEFORE_MEDIAN"].tolist() == [row.before_median for row in report.rows]


def test_pixels_are_those_of_the_mosaics_and_errors_their_noise(
    on_sqlite: Prepared, long_world: World, tmp_path: Path
) -> None:
    report = make(on_sqlite.url, tmp_path)
    with fits.open(report.files[0]) as hdus:
        planes = {name: hdus[name].data for name in ("BEFORE", "AFTER", "ERR", "HALF")}
        mosaics = {(row["EPOCH"], row["DETECTOR"]): row["FILENAME"] for row in hdus["INPUTS"].data}
        grid = open_image(Path(report.files[0])).grid
    assert grid is not None
    by_name = {path.name: path for path in long_world.paths}
    first, second = (
        open_image(by_name[mosaics[key]]) for key in ((E1, "NRCALONG"), (E2, "NRCBLONG"))
    )
    brightest = np.unravel_index(
        np.argmax(np.where(planes["HALF"] == 1, planes["BEFORE"], -np.inf)), grid.shape
    )
    ra, dec = grid.sky_of(brightest[1], brightest[0])
    values = []
    for image in (first, second):
        assert image.grid is not None
        x, y = (round(float(axis)) for axis in image.grid.pixels_of(ra, dec))
        values.append(read_planes(image).sci[y, x])
    difference = planes["BEFORE"][brightest]
    assert difference == pytest.approx(values[1] - values[0], abs=NOISE_MJY_SR)
    # 3 per cent are taken off there by the correction, to 3 sigma of two pixels' noise.
    assert difference > 0.02 * values[1]
    assert abs(planes["AFTER"][brightest]) < 0.01 * values[1] + 6.0 * NOISE_MJY_SR
    # The noise between sources is that of ERR.
    deep = np.isfinite(planes["BEFORE"]) & (planes["ERR"] < 1.5 * NOISE_MJY_SR)
    pull = planes["BEFORE"][deep] / planes["ERR"][deep]
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.03)


def test_files_are_reproducible_and_not_overwritten_unasked(
    on_sqlite: Prepared, tmp_path: Path
) -> None:
    first = make(on_sqlite.url, tmp_path / "a")
    contents = [Path(file).read_bytes() for file in first.files]
    with pytest.raises(OutputError, match="it exists; give another folder or --overwrite"):
        make(on_sqlite.url, tmp_path / "a")
    again = make(on_sqlite.url, tmp_path / "a", overwrite=True)
    assert [Path(file).read_bytes() for file in again.files] == contents


def test_full_disk_leaves_nothing(on_sqlite: Prepared, tmp_path: Path) -> None:
    """A limit on the size of files stops the writing somewhere in the middle."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*_diff.fits: ") as caught:
            make(on_sqlite.url, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failed_figure_takes_the_image_with_it(
    on_sqlite: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        msg = "cannot write it"
        raise OutputError(msg)

    monkeypatch.setattr("calreg.pixels.difference.difference.plot_difference", fail)
    with pytest.raises(OutputError):
        make(on_sqlite.url, tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- what is refused ------------------------------------------------------------------------------


def test_moved_and_changed_mosaics_are_refused(copied: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = copied
    out = tmp_path / "out"
    path = one_mosaic(folder)
    kept = path.rename(path.with_suffix(".elsewhere"))
    with pytest.raises(ConflictError, match=f"{path.name}: is not there any more"):
        make(url, out)
    shutil.copyfile(kept, path)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["TARGPROP"] = "OTHER"
    with pytest.raises(ConflictError, match="is not what was ingested"):
        make(url, out)
    shutil.copyfile(kept, path)
    set_columns(url, ExposureRow.file_name == path.name, file_sha256="0" * 64)
    with pytest.raises(ConflictError, match="is not what was ingested"):
        make(url, out)
    assert not out.exists()


def test_a_mosaic_that_is_corrected_is_not_corrected_again(
    copied: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = copied
    path = one_mosaic(folder)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["CALREGID"] = "a-set"
    replaced(url, path)
    with pytest.raises(UnsupportedDataError, match="would be corrected twice"):
        make(url, tmp_path / "out")
    assert make(url, tmp_path / "out", is_corrected=False).files


def test_a_missing_set_is_an_error_and_no_correction_only_on_request(
    copied: tuple[str, Path], tmp_path: Path
) -> None:
    url, _ = copied
    with open_database(url) as database, database.write() as connection:
        (other,) = insert_rows(
            connection, PmapRow.__table__, [{"name": "jwst_1200.pmap", "number": 1200}]
        )
        connection.execute(sa.update(ExposureRow).values(pmap_id=other))
    out = tmp_path / "out"
    with pytest.raises(
        NoCalibrationError, match=r"no coefficient set for jwst_1200.pmap F444W .* --no-correction"
    ):
        make(url, out)
    assert not out.exists()
    report = make(url, out, is_corrected=False)
    for row in report.rows:
        assert row.before_median is not None
        assert row.after_median is None
        assert not row.is_left
    with fits.open(report.files[0]) as hdus:
        assert hdus[0].header["CORRECTD"] is False
        assert "AFTER" not in hdus
        assert "AFTER_SMOOTHED" not in hdus
        assert (hdus["INPUTS"].data["SET_ID"] == "").all()


def test_a_set_that_does_not_fit_the_mosaics_is_warned_of(
    copied: tuple[str, Path], tmp_path: Path
) -> None:
    """Mosaics that read 2 per cent brighter in one epoch than when the set was fitted."""
    url, folder = copied
    for path in folder.glob("*o242*_i2d.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus["SCI"].data = hdus["SCI"].data * np.float32(1.02)
    report = make(url, tmp_path / "out")
    assert len(report.warnings) == 2
    for warning, row in zip(report.warnings, report.rows, strict=True):
        assert row.is_left
        assert_within(row.after_median, row.after_err, 0.0198)
        assert "more than 0.005" in warning


def test_unknown_and_ambiguous_keys_are_named(copied: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = copied
    out = tmp_path / "out"
    with pytest.raises(UnknownKeyError, match=f"JWIDF: {E1}, {E2}, {E3}"):
        make(url, out, E1, "epoch9")
    with pytest.raises(UnknownKeyError, match="unknown field 'Nowhere'"):
        make(url, out, field="Nowhere")
    with pytest.raises(InvalidValueError, match="expected two epochs"):
        make(url, out, E1, E1)
    with pytest.raises(UnknownKeyError, match=r"F200W, any context: .* has F444W"):
        make(url, out, band="F200W")
    with pytest.raises(UnknownKeyError, match="jwst_1039"):
        make(url, out, pmap=Pmap(1039))
    # A second reduction of the same data, then a second context.
    with open_database(url) as database, database.write() as connection:
        columns = [column for column in ExposureRow.__table__.columns if column.name != "id"]
        rows = connection.execute(sa.select(*columns)).mappings().all()
        connection.execute(sa.insert(ExposureRow), [{**row, "cal_ver": "1.99.0"} for row in rows])
    with pytest.raises(InvalidValueError, match=r"1\.99\.0 \(CAL_VER\): choose one by --cal-ver"):
        make(url, out)
    assert make(url, out, cal_ver="1.99.0").files
    with open_database(url) as database, database.write() as connection:
        (other,) = insert_rows(
            connection, PmapRow.__table__, [{"name": "jwst_1200.pmap", "number": 1200}]
        )
        connection.execute(
            sa.update(ExposureRow).where(ExposureRow.cal_ver == "1.99.0").values(pmap_id=other)
        )
    with pytest.raises(InvalidValueError, match=r"jwst_1130.pmap, jwst_1200.pmap: choose one"):
        make(url, out)


def test_units_must_agree(copied: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = copied
    path = one_mosaic(folder)
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].header["BUNIT"] = "DN/s"
    replaced(url, path)
    with pytest.raises(UnsupportedDataError, match=f"{path.name} DN/s"):
        make(url, tmp_path / "out")
