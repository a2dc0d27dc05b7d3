"""``calreg measure`` on the command line: against the real SExtractor, and what it says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree

from benchmarks.sextractor import configure, find_program, read_catalog, run_dual
from benchmarks.skyscene import NOISE, draw_epoch, simulate_scene
from calreg import Registry
from calreg.flags import DetectionFlag
from calreg.science.photometry.settings import DetectionSettings
from calreg.science.sky.grids import Grid
from support.measuring import row_counts
from support.skymosaics import SCALE_ARCSEC, SkyMosaic, draw_mosaic, write_field, write_mosaic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from support.commandline import Result

    Run = Callable[..., Result]

NX, NY, N_SOURCES = 1500, 1200, 900
FACTORS = (1.0, 0.985, 1.02)
ARRAYS = ("nrcalong", "nrcblong", "nrcalong")


@pytest.fixture(scope="module")
def field_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two arrays in two epochs: A1 B1 A2 B2."""
    return write_field(tmp_path_factory.mktemp("field"))


# --- against SExtractor --------------------------------------------------------------------------


def _drizzled_noise(seed: int) -> NDArray[np.float32]:
    """Return noise that neighbouring pixels share, as drizzled mosaics have it."""
    rng = np.random.default_rng(seed)
    noise = uniform_filter(rng.standard_normal((NY, NX)), size=2)
    return (1.5 * NOISE * noise).astype(np.float32)


@pytest.mark.skipif(find_program() is None, reason="neither source-extractor nor sex is there")
@pytest.mark.parametrize("kind", ["simulated", "noise added"])
def test_magnitudes_are_those_of_sextractor_in_dual_image_mode(
    calreg: Run, tmp_path: Path, kind: str
) -> None:
    scene = simulate_scene(NX, NY, N_SOURCES)
    grid = Grid(265.1, 65.8, SCALE_ARCSEC, 0.0, NX / 2.0, NY / 2.0, NX, NY)
    mosaics, plain = [], []
    for n, (array, factor) in enumerate(zip(ARRAYS, FACTORS, strict=True)):
        sci, err = draw_epoch(scene, seed=n + 1, factor=factor)
        if kind == "noise added":
            sci = sci + _drizzled_noise(n + 11)
        mosaics.append(write_mosaic(tmp_path, SkyMosaic(n, array, sci, err, grid)))
        plain.append(tmp_path / f"{n}.fits")
        fits.writeto(plain[-1], sci)
    url = f"sqlite:///{tmp_path}/calreg.sqlite"
    Registry.init(url)
    words = ("--db", url, "measure", *mosaics, "--no-weights", "--out", tmp_path / "{}.ecsv")
    assert calreg(*words).status == 0
    configuration = configure(tmp_path, DetectionSettings(), SCALE_ARCSEC)
    # Magnitudes of sums of MJy/sr.
    zero_point = 8.9 - 2.5 * np.log10(grid.pixel_sr * 1e6)
    for mosaic, image in zip(mosaics, plain, strict=True):
        run_dual(configuration, plain[0], image, tmp_path / "theirs.cat")
        theirs = read_catalog(tmp_path / "theirs.cat")
        ours = Table.read(mosaic.with_suffix(".ecsv"))
        places = np.column_stack([ours["X_IMAGE"], ours["Y_IMAGE"]])
        distance, nearest = cKDTree(places).query(
            np.column_stack([theirs["X_IMAGE"], theirs["Y_IMAGE"]])
        )
        is_same, rows = np.asarray(distance < 0.1), np.asarray(nearest)
        assert np.unique(rows[is_same]).size == is_same.sum() > 300
        assert is_same.sum() >= 0.995 * max(theirs.size, len(ours))
        flags = theirs["FLAGS"] | np.asarray(ours["FLAGS"])[rows]
        which = is_same & ((flags & DetectionFlag.BLENDED) == 0) & (theirs["FLUX_ISO"] > 0.0)
        assert which.sum() > 0.9 * theirs.size
        mine = ours[rows[which]]
        difference = np.abs(theirs["MAG_ISO"][which] + zero_point - mine["MAG_ISO"])
        # SExtractor writes magnitudes in single precision, 2e-6 at 26 mag.
        assert np.median(difference) <= 1e-5
        assert (difference <= 1e-3).mean() >= 0.99
        # The same in linear fluxes, and their errors.
        scale = grid.pixel_sr * 1e12
        for name in ("FLUX_ISO", "FLUXERR_ISO"):
            ratio = np.abs(theirs[name][which] * scale / mine[name] - 1.0)
            assert np.median(ratio) <= 1e-6
            assert (ratio <= 1e-3).mean() >= 0.99


# --- what it says --------------------------------------------------------------------------------


def test_rows_in_three_forms_and_what_is_known(
    calreg: Run, field_paths: list[Path], db_url: str
) -> None:
    words = ("measure", *field_paths, "--db", db_url)
    table = calreg(*words)
    assert table.status == 0
    assert len(table.out.splitlines()) == 2 + 4
    assert "depth [mag AB]" in table.out
    assert table.err.startswith("measured 4 mosaics (")
    as_json, as_csv = (calreg(*words, "--format", form) for form in ("json", "csv"))
    assert [row["state"] for row in as_json.json] == ["known"] * 4
    assert [row["file"] for row in as_csv.csv] == [path.name for path in field_paths]
    assert as_json.json[0]["median_snr"] is None
    assert "4 known with the same settings, not measured again" in as_json.err
    assert "nothing stored" in as_json.err


def test_numbers_of_a_row(calreg: Run, field_paths: list[Path], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calreg.sqlite"
    Registry.init(url)
    words = ("measure", field_paths[0], "--no-store", "--out", tmp_path / "a.ecsv")
    answer = calreg("--db", url, "--format", "json", *words)
    (row,) = answer.json
    table = Table.read(tmp_path / "a.ecsv")
    assert row["n_sources"] == len(table)
    assert row["n_compact"] == (table["IS_COMPACT"] == 1).sum()
    assert row["n_flagged"] == (table["FLAGS"] != 0).sum()
    assert row["median_snr"] == pytest.approx(np.median(table["SNR_ISO"]), rel=1e-9)
    limit = 5.0 * np.nanmedian(table["FLUXERR_APER"])
    assert row["depth_mag"] == pytest.approx(23.9 - 2.5 * np.log10(limit), abs=1e-9)
    assert row["version"] is None
    assert table.meta["image"] == field_paths[0].name
    assert table.meta["settings"]["threshold_sigma"] == "1.5"
    units = {name: str(table[name].unit) for name in ("FLUX_ISO", "MAG_ISO", "ALPHA_J2000")}
    assert units == {"FLUX_ISO": "uJy", "MAG_ISO": "mag", "ALPHA_J2000": "deg"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threshold", "0"), "threshold sigma 0: expected a number from 0.1"),
        (("--deblend", "32"), "expected two numbers with a comma"),
        (("--deblend", "3.5,0.1"), "expected a whole number"),
        (("--kron", "a,b"), "expected two numbers"),
        (("--align", "twist"), "expected none, shift or linear"),
        (("--jobs", "0"), "expected 1 or more"),
        (("--no-store",), "leaves nothing without --out"),
    ],
)
def test_options_that_cannot_be(
    calreg: Run, field_paths: list[Path], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    answer = calreg("--db", tmp_path / "none.sqlite", "measure", field_paths[0], *words)
    assert answer.status == 2
    assert message in " ".join(answer.err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "extra"), [("sep", "photometry"), ("pyarrow", "arrow")])
def test_what_is_not_installed_is_one_line(
    calreg: Run,
    field_paths: list[Path],
    db_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    answer = calreg("measure", field_paths[0], "--out", tmp_path / "a.parquet", "--db", db_url)
    assert answer.status == 1
    (line,) = answer.err.splitlines()
    assert f"pip install 'calreg[{extra}]'" in line
    monkeypatch.undo()
    assert sum(row_counts(db_url).values()) == 0


def test_a_name_that_tells_no_format(calreg: Run, field_paths: list[Path], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calreg.sqlite"
    Registry.init(url)
    for out, message in (
        ("a.txt", "expected .ecsv, .fits, .fit, .parquet"),
        ("none/a.ecsv", "there is no folder"),
    ):
        answer = calreg("--db", url, "measure", field_paths[0], "--out", tmp_path / out)
        assert answer.status == 1
        (line,) = answer.err.splitlines()
        assert message in line
    two = calreg("--db", url, "measure", *field_paths[:2], "--out", tmp_path / "a.ecsv")
    assert two.status == 1
    assert "2 mosaics would go to one file: put {} where the name of each" in two.err
    own = calreg("--db", url, "measure", field_paths[0], "--out", field_paths[0], "--overwrite")
    assert own.status == 1
    assert "it is one of the images; give another name" in own.err


# --- bad input -----------------------------------------------------------------------------------


def _no_wcs(folder: Path) -> Path:
    return write_mosaic(folder, draw_mosaic(0, "nrcalong"), with_wcs=False)


def _all_nan(folder: Path) -> Path:
    mosaic = draw_mosaic(0, "nrcalong")
    return write_mosaic(folder, mosaic, planes={"SCI": np.full_like(mosaic.sci, np.nan)})


def _no_noise(folder: Path) -> Path:
    return write_mosaic(folder, draw_mosaic(0, "nrcalong"), planes={"ERR": None, "WHT": None})


def _saturated(folder: Path) -> Path:
    mosaic = draw_mosaic(0, "nrcalong")
    return write_mosaic(
        folder, mosaic, planes={"DQ": np.full(mosaic.sci.shape, 2, dtype=np.uint32)}
    )


def _truncated(folder: Path) -> Path:
    path = write_mosaic(folder, draw_mosaic(0, "nrcalong"))
    path.write_bytes(path.read_bytes()[:-200_000])
    return path


def _no_area(folder: Path) -> Path:
    return write_mosaic(folder, draw_mosaic(0, "nrcalong"), science={"PIXAR_SR": 0.0})


def _flat(folder: Path) -> Path:
    mosaic = draw_mosaic(0, "nrcalong")
    return write_mosaic(folder, mosaic, planes={"SCI": np.full_like(mosaic.sci, 0.3)})


def _single_exposure(folder: Path) -> Path:
    path = write_mosaic(
        folder, draw_mosaic(0, "nrcalong"), name="x_cal.fits", primary={"S_RESAMP": "SKIPPED"}
    )
    # The table of exposures alone would make it a mosaic.
    with fits.open(path, mode="update") as hdus:
        del hdus["HDRTAB"]
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_wcs, "has no WCS in SCI (CTYPE1=missing, CTYPE2=missing): expected CTYPE1"),
        (_all_nan, "none of its 159600 pixels carries data (all are NaN"),
        (_no_noise, "has neither ERR nor VAR nor WHT"),
        (_saturated, "is saturated throughout (159600 of 159600 pixels"),
        (_truncated, "truncated"),
        (_no_area, "PIXAR_SR"),
        (_flat, "the background has no noise"),
        (_single_exposure, "is a single cal exposure: expected a mosaic"),
    ],
)
def test_one_bad_mosaic_is_one_line_and_nothing_is_written(
    calreg: Run,
    field_paths: list[Path],
    db_url: str,
    tmp_path: Path,
    make: Callable[[Path], Path],
    message: str,
) -> None:
    bad = make(tmp_path)
    words = ("measure", *field_paths[1:], bad, "--out", tmp_path / "{}.ecsv", "--db", db_url)
    answer = calreg(*words)
    assert answer.status == 1
    assert answer.out == ""
    (line,) = answer.err.splitlines()
    assert line.startswith("calreg: ")
    assert str(bad) in line
    assert message in line
    assert sum(row_counts(db_url).values()) == 0
    assert [path.suffix for path in tmp_path.iterdir()].count(".ecsv") == 0


def test_a_detection_image_that_does_not_overlap(
    calreg: Run, field_paths: list[Path], db_url: str, tmp_path: Path
) -> None:
    mosaic = draw_mosaic(0, "nrcalong")
    far = SkyMosaic(0, "nrcalong", mosaic.sci, mosaic.err, mosaic.grid.cutout(9000, 0, 380, 420))
    path = write_mosaic(tmp_path, far, name="far_i2d.fits")
    answer = calreg("measure", *field_paths, "--detect", path, "--db", db_url)
    assert answer.status == 1
    (line,) = answer.err.splitlines()
    assert f"does not overlap the image to detect on ({path})" in line
    assert sum(row_counts(db_url).values()) == 0
