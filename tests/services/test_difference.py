"""Difference images of mosaics with injected offsets: signs, sizes, what a correction leaves."""

from __future__ import annotations

import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits

from calreg import Registry
from calreg.db.bulk import insert_rows
from calreg.db.engine import open_database
from calreg.db.schema import ExposureRow, PmapRow
from calreg.difference import RESIDUAL_LIMIT, DifferenceReport, ResidualRow
from calreg.differenceplan import DifferenceOptions
from calreg.domain import Pmap
from calreg.errors import (
    ConflictError,
    InvalidValueError,
    NoCalibrationError,
    OutputError,
    UnknownKeyError,
    UnsupportedDataError,
)
from calreg.files.headers import read_headers
from calreg.files.images import open_image, read_planes
from calreg.science.detectorgradient import GradientDatum
from dbfixtures import ENGINES
from differenceworld import NOISE_MJY_SR, Truth, World, expected_residuals, make_world
from programmes import Files, Prepared, _new_url, row_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

E1, E2, E3 = "2022-07-08", "2023-01-06", "2023-07-06"
LONG = Truth({"long": 0.03}, slope_mag_arcmin=0.0043)
SHORT = Truth({"1": 0.03, "2": -0.043, "3": 0.022, "4": -0.05})


def prepared(
    world: World, request: pytest.FixtureRequest, factory: pytest.TempPathFactory, engine: str
) -> Iterator[Prepared]:
    """Yield a registry with a world's mosaics, fitted."""
    with _new_url(engine, request, factory) as url:
        with Registry(url) as registry:
            report = registry.ingest(list(world.paths))
            assert report.refused == []
            registry.refit()
        files = Files(world.programme, world.paths[0].parent, world.paths)
        yield Prepared(url, files, request)


@pytest.fixture(scope="module")
def long_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("long"), LONG, n_epochs=3)


@pytest.fixture(scope="module")
def short_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("short"), SHORT, band="F200W")


@pytest.fixture(scope="module", params=ENGINES)
def long_registry(
    long_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    yield from prepared(long_world, request, tmp_path_factory, request.param)


@pytest.fixture(scope="module", params=ENGINES)
def short_registry(
    short_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    yield from prepared(short_world, request, tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def on_sqlite(
    long_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """Yield a registry for what does not depend on the engine."""
    yield from prepared(long_world, request, tmp_path_factory, "sqlite")


def make(url: str, out: Path, *epochs: str, **options: Any) -> DifferenceReport:
    """Make difference images."""
    first, second = epochs or (E1, E2)
    with Registry(url, read_only=True) as registry:
        return registry.difference(DifferenceOptions(first, second, out, **options))


def halves(report: DifferenceReport) -> dict[str, ResidualRow]:
    """Return the rows of whole halves by the modules that saw them."""
    return {row.half: row for row in report.rows if not row.array_a}


def assert_within(value: float | None, err: float | None, truth: float) -> None:
    """Hold a median against the truth at 3 sigma."""
    assert value is not None
    assert err is not None
    assert 0.0 < err < 0.01
    assert value == pytest.approx(truth, abs=3.0 * err)


# --- the numbers ----------------------------------------------------------------------------------


def test_long_band_shows_the_injected_residuals_and_none_after(
    long_registry: Prepared, long_world: World, tmp_path: Path
) -> None:
    """A reads too faint by 0.03 mag and a gradient: so does the epoch in which A saw a half."""
    with Registry(long_registry.url) as registry:
        counts = row_counts(registry)
    report = make(long_registry.url, tmp_path / "out")
    found = halves(report)
    assert set(found) == {"A then B", "B then A"}
    a_first, b_first = found["A then B"], found["B then A"]
    assert a_first.before_median is not None
    assert b_first.before_median is not None
    # A saw it first and too faint: the second epoch is brighter there, by 2.5 to 4 per cent.
    assert 0.025 < a_first.before_median < 0.04
    assert -0.04 < b_first.before_median < -0.025
    for row, modules in ((a_first, ("A", "B")), (b_first, ("B", "A"))):
        truth = float(np.median(expected_residuals(long_world, (1, 2), modules)))
        assert row.n_sources > 60
        assert_within(row.before_median, row.before_err, truth)
        assert row.after_median is not None
        assert abs(row.after_median) < RESIDUAL_LIMIT
    # Module A lies to the south-west (PA 252 deg) in the first epoch.
    assert abs(a_first.pa_deg - 252.0) < 2.0
    assert abs(b_first.pa_deg - 72.0) < 2.0
    assert report.warnings == []
    # Nothing was written to the registry.
    with Registry(long_registry.url) as registry:
        assert row_counts(registry) == counts


def test_short_band_shows_every_array(
    short_registry: Prepared, short_world: World, tmp_path: Path
) -> None:
    report = make(short_registry.url, tmp_path)
    for modules, name in ((("A", "B"), "A then B"), (("B", "A"), "B then A")):
        whole = halves(report)[name]
        truth = float(np.median(expected_residuals(short_world, (1, 2), modules)))
        # Four offsets in one half: the median lies between them, with the error of a mixture.
        assert_within(whole.before_median, whole.before_err, truth)
        assert whole.after_median is not None
        assert abs(whole.after_median) < RESIDUAL_LIMIT
    pairs = {(row.array_a, row.array_b): row for row in report.rows if row.array_a}
    for array_id, offset in SHORT.offset_ab_mag.items():
        for first, second, sign in (("a", "b", 1.0), ("b", "a", -1.0)):
            row = pairs[f"nrc{first}{array_id}", f"nrc{second}{array_id}"]
            ratio = 10.0 ** (0.4 * sign * offset)
            assert_within(row.before_median, row.before_err, 2.0 * (ratio - 1.0) / (ratio + 1.0))
            assert_within(row.after_median, row.after_err, 0.0)


def test_exchanged_epochs_exchange_the_sign(on_sqlite: Prepared, tmp_path: Path) -> None:
    forward = halves(make(on_sqlite.url, tmp_path, E1, E2))
    backward = halves(make(on_sqlite.url, tmp_path, E2, E1))
    for name, turned in (("A then B", "B then A"), ("B then A", "A then B")):
        one, other = forward[name], backward[turned]
        assert one.before_median is not None
        assert other.before_median == pytest.approx(-one.before_median, abs=1e-6)
        assert other.n_sources == one.n_sources
        assert abs(one.pa_deg - other.pa_deg) < 0.2


def test_equal_rolls_leave_nothing_before_and_after(on_sqlite: Prepared, tmp_path: Path) -> None:
    found = halves(make(on_sqlite.url, tmp_path, E1, E3))
    assert set(found) == {"A then A", "B then B"}
    for row in found.values():
        assert_within(row.before_median, row.before_err, 0.0)
        assert_within(row.after_median, row.after_err, 0.0)


def test_datum_of_the_gradient_moves_the_level_and_not_the_residual(
    on_sqlite: Prepared, tmp_path: Path
) -> None:
    reports = {
        datum: make(on_sqlite.url, tmp_path / datum, gradient_datum=datum)
        for datum in GradientDatum
    }
    rows = [halves(report) for report in reports.values()]
    for name in ("A then B", "B then A"):
        first, second = (row[name] for row in rows)
        assert first.before_median == second.before_median
        # Dithers average a gradient over their positions, the same to 1e-4 for either share.
        assert first.after_median == pytest.approx(second.after_median, abs=5e-4)
    tables = {}
    for datum, report in reports.items():
        with fits.open(report.files[0]) as hdus:
            assert hdus[0].header["GRADDATM"] == str(datum)
            tables[datum] = {row["DETECTOR"]: row for row in hdus["INPUTS"].data}
    shared, one_sided = tables[GradientDatum.SYMMETRIC], tables[GradientDatum.B]
    assert one_sided["NRCBLONG"]["FACTOR"] == 1.0
    assert np.isnan(one_sided["NRCBLONG"]["GRADIENT_X"])
    assert shared["NRCBLONG"]["GRADIENT_X"] != 0.0
    assert one_sided["NRCALONG"]["GRADIENT_X"] == pytest.approx(
        2.0 * shared["NRCALONG"]["GRADIENT_X"]
    )


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
        planes = {name: hdus[name].data for name in names[1:7]}
        inputs = [dict(zip(row.array.names, row, strict=True)) for row in hdus["INPUTS"].data]
        residuals = hdus["RESIDUALS"].data
        grid = open_image(Path(report.files[0])).grid
    assert grid is not None
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
        "CALREGBD": "F444W",
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
    # A pixel of the difference is that of the files, without their backgrounds.
    mosaics = {(row["EPOCH"], row["DETECTOR"]): by_name[row["FILENAME"]] for row in inputs}
    first, second = (open_image(mosaics[key]) for key in ((E1, "NRCALONG"), (E2, "NRCBLONG")))
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

    monkeypatch.setattr("calreg.difference.plot_difference", fail)
    with pytest.raises(OutputError):
        make(on_sqlite.url, tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- what is refused ------------------------------------------------------------------------------


@pytest.fixture
def copied(on_sqlite: Prepared, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield a registry and a folder of mosaics to change."""
    folder = tmp_path / "mosaics"
    folder.mkdir()
    with on_sqlite.copy(tmp_path) as url:
        for path in on_sqlite.files.select(suffix=".fits"):
            shutil.copyfile(path, folder / path.name)
        set_columns(url, directory=str(folder))
        yield url, folder


def set_columns(url: str, where: Any = None, **values: Any) -> None:
    """Change columns of exposures."""
    with open_database(url) as database, database.write() as connection:
        statement = sa.update(ExposureRow).values(**values)
        connection.execute(statement if where is None else statement.where(where))


def one_mosaic(folder: Path) -> Path:
    """Return a mosaic of the second epoch."""
    return next(folder.glob("*o242*nrcblong_i2d.fits"))


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


def replaced(url: str, path: Path) -> None:
    """Let the registry have a file as it is now."""
    set_columns(url, ExposureRow.file_name == path.name, header_sha256=read_headers(path).sha256)


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
        NoCalibrationError, match=r"no coefficient set for jwst_1200.pmap F444W array long"
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


# --- other mosaics --------------------------------------------------------------------------------


def test_mosaics_without_a_table_of_exposures_are_corrected_along_the_sky(
    copied: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = copied
    for path in folder.glob("*_i2d.fits"):
        with fits.open(path) as hdus:
            kept = [hdu.copy() for hdu in hdus if hdu.name not in ("HDRTAB", "CON")]
        fits.HDUList(kept).writeto(path, overwrite=True)
        replaced(url, path)
    for row in make(url, tmp_path / "out").rows:
        assert row.after_median is not None
        assert abs(row.after_median) < RESIDUAL_LIMIT


def test_other_pixels_are_refused_or_brought_over(tmp_path: Path) -> None:
    world = make_world(tmp_path / "files", replace(LONG), odd="o242_t001_nircam_clear-f444w_nrca")
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    with Registry.create(url) as registry:
        registry.ingest(list(world.paths))
        registry.refit()
    with pytest.raises(InvalidValueError, match="--reproject brings them over") as caught:
        make(url, tmp_path / "out")
    # Both grids are named.
    assert "PA of y 163.000 deg" in str(caught.value)
    assert "PA of y 162.000 deg" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    found = halves(make(url, tmp_path / "out", is_reprojected=True))
    for name, modules in (("A then B", ("A", "B")), ("B then A", ("B", "A"))):
        row = found[name]
        truth = float(np.median(expected_residuals(world, (1, 2), modules)))
        assert_within(row.before_median, row.before_err, truth)
        assert row.after_median is not None
        assert abs(row.after_median) < RESIDUAL_LIMIT
