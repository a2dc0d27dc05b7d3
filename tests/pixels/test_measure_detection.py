"""Which image sources are detected on: first epoch, another, a stack; other pixels; alignment."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import calreg.pixels.measure.measure
from calreg import Registry
from calreg.errors import (
    ConflictError,
    FitRefusedError,
    UnknownImageError,
    UnsupportedDataError,
)
from calreg.pixels.measure.patches import run_patches
from calreg.science.imaging.alignment import AlignKind
from support.measuring import catalog_rows, detections, matched, measure, row_counts
from support.skymosaics import (
    GRID,
    NX,
    NY,
    OFFSETS_MAG,
    WIDTH,
    SkyMosaic,
    draw_mosaic,
    write_field,
    write_mosaic,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.pixels.measure.measure import MeasureReport
    from calreg.science.sky.grids import Grid


@pytest.fixture(scope="module")
def field_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two arrays in two epochs: A1 B1 A2 B2."""
    return write_field(tmp_path_factory.mktemp("field"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return an empty registry; nothing here depends on the engine."""
    made = f"sqlite:///{tmp_path}/calreg.sqlite"
    Registry.init(made)
    return made


# --- the first epoch -----------------------------------------------------------------------------


def test_first_epoch_is_found_in_the_registry_and_must_be_at_hand(
    db_url: str, field_paths: list[Path], tmp_path: Path
) -> None:
    paths = [tmp_path / path.name for path in field_paths]
    for path, copy in zip(field_paths, paths, strict=True):
        shutil.copy(path, copy)
    with Registry(db_url) as registry:
        assert registry.ingest(paths[:2]).is_committed
    (row,) = measure(db_url, [paths[2]]).rows
    assert set(row.detection.split()) == {path.name for path in paths[:2]}
    before = row_counts(db_url)
    paths[0].rename(tmp_path / "elsewhere.fits")
    with pytest.raises(UnknownImageError, match=rf"{paths[0]}.*no longer there.*--detect"):
        measure(db_url, [paths[3]])
    with paths[1].open("r+b") as stream:
        stream.seek(80 * 5)
        stream.write(b"COMMENT another".ljust(80))
    (tmp_path / "elsewhere.fits").rename(paths[0])
    with pytest.raises(UnknownImageError, match="changed since it was ingested"):
        measure(db_url, [paths[3]])
    assert row_counts(db_url) == before


def test_sky_that_the_first_epoch_did_not_see_is_said(url: str, field_paths: list[Path]) -> None:
    report = measure(url, [field_paths[0], field_paths[2]])
    # A saw the left 380 columns first and the right 380 later: 60 of them are the same.
    outside = 100.0 * (NX - WIDTH) / WIDTH
    assert report.rows[0].outside_percent == pytest.approx(0.0, abs=1e-9)
    assert report.rows[1].outside_percent == pytest.approx(outside, abs=1e-6)
    (warning,) = report.warnings
    assert "1 of 2 mosaics have pixels that no detection image covers" in warning
    assert f"up to {outside:.1f} % ({field_paths[2].name})" in warning
    assert "--detect stack" in warning


def test_registry_that_changes_meanwhile_is_noticed(
    db_url: str, field_paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mosaic = draw_mosaic(0, "nrcalong")
    earlier = write_mosaic(
        tmp_path,
        mosaic,
        name="earlier_i2d.fits",
        primary={"EXPSTART": 59600.0, "EXPMID": 59600.1, "EXPEND": 59600.2, "OBSERVTN": "100"},
    )

    def ingest_and_run(*arguments: object) -> object:
        with Registry(db_url) as registry:
            registry.ingest([earlier])
        return run_patches(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(calreg.pixels.measure.measure, "run_patches", ingest_and_run)
    with pytest.raises(ConflictError, match="changed by another process"):
        measure(db_url, field_paths)
    assert catalog_rows(db_url) == []
    assert row_counts(db_url)["exposures"] == 1


def test_a_mosaic_given_twice(url: str, field_paths: list[Path]) -> None:
    with pytest.raises(ConflictError, match="is the same mosaic as"):
        measure(url, [field_paths[0], field_paths[0]])


# --- another image, a stack ----------------------------------------------------------------------


def test_another_image_to_detect_on(db_url: str, field_paths: list[Path], tmp_path: Path) -> None:
    # The whole field in another band, which is in no registry.
    scene = _whole_field(seed=99)
    detect = write_mosaic(tmp_path, scene, name="deep_i2d.fits", primary={"FILTER": "F356W"})
    report = measure(db_url, field_paths, detect=str(detect))
    assert {row.detection for row in report.rows} == {"deep_i2d.fits"}
    assert report.warnings == []
    assert row_counts(db_url)["exposures"] == 4
    found = [detections(db_url, path) for path in field_paths]
    # A1 and B2 are the same sky inside the same isophotes.
    i, _ = matched(found[0], found[3])
    assert i.size >= 0.9 * min(found[0]["number"].size, found[3]["number"].size)
    with pytest.raises(ConflictError, match=r"detection_images deep_i2d\.fits -> epoch1"):
        measure(db_url, field_paths)


def _whole_field(seed: int, grid: Grid = GRID) -> SkyMosaic:
    """Draw all of the field at once."""
    from benchmarks.skyscene import draw_epoch, simulate_scene
    from support.skymosaics import N_SOURCES

    scene = simulate_scene(NX, NY, N_SOURCES, seed=5)
    sci, err = draw_epoch(scene, seed=seed)
    return SkyMosaic(0, "nrcalong", sci, err, grid)


def test_a_stack_goes_deeper_and_covers_all(url: str, field_paths: list[Path]) -> None:
    first = measure(url, field_paths, stores=False, out=_out(field_paths, "first"))
    stack = measure(url, field_paths, stores=False, detect="stack", out=_out(field_paths, "stack"))
    assert sum(_n_sources(stack)) > sum(_n_sources(first))
    for row in stack.rows:
        assert row.outside_percent == pytest.approx(0.0, abs=1e-9)
    # Those that share most of their sky are averaged: A1 with B2, B1 with A2.
    assert set(stack.rows[0].detection.split()) == {field_paths[0].name, field_paths[3].name}
    assert stack.rows[0].detection == stack.rows[3].detection
    assert stack.rows[1].detection == stack.rows[2].detection != stack.rows[0].detection
    assert stack.rows[0].n_sources == stack.rows[3].n_sources


def _out(paths: list[Path], name: str) -> Path:
    """Return where catalogs are written."""
    folder = paths[0].parent / name
    folder.mkdir()
    return folder / "{}.ecsv"


def _n_sources(report: MeasureReport) -> list[int]:
    """Return the number of sources of each mosaic."""
    return [row.n_sources or 0 for row in report.rows]


# --- other pixels --------------------------------------------------------------------------------


def test_other_pixels_are_refused_with_both_wcs(
    db_url: str, field_paths: list[Path], tmp_path: Path
) -> None:
    moved = _moved_half_a_pixel(tmp_path)
    with pytest.raises(UnsupportedDataError) as caught:
        measure(db_url, [field_paths[0], moved])
    text = str(caught.value)
    for words in ("CRPIX 351.00 211.00", "CRPIX 350.50 211.00", "380 x 420", "--reproject"):
        assert words in text
    assert sum(row_counts(db_url).values()) == 0


def _moved_half_a_pixel(folder: Path) -> Path:
    """Write what B saw in the second epoch on a lattice that is half a pixel off."""
    mosaic = draw_mosaic(1, "nrcblong", shift_px=(-0.5, 0.0))
    grid = replace(mosaic.grid, x_ref=mosaic.grid.x_ref - 0.5)
    return write_mosaic(folder, replace(mosaic, grid=grid), name="moved_i2d.fits")


def test_reprojected_fluxes_are_those_of_the_same_pixels(
    url: str, field_paths: list[Path], tmp_path: Path
) -> None:
    moved = _moved_half_a_pixel(tmp_path)
    report = measure(url, [field_paths[0], moved], is_reprojected=True)
    assert report.rows[1].detection == field_paths[0].name
    one, other = (detections(url, path, "auto") for path in (field_paths[0], moved))
    i, j = matched(one, other)
    assert i.size > 60
    is_clean = (one["mag_err"][i] < 0.1) & (one["flags"][i] == 0) & (other["flags"][j] == 0)
    i, j = i[is_clean], j[is_clean]
    weight = 1.0 / (one["mag_err"][i] ** 2 + other["mag_err"][j] ** 2)
    offset_mag = np.average(one["mag_ab"][i] - other["mag_ab"][j], weights=weight)
    assert offset_mag == pytest.approx(OFFSETS_MAG["nrcalong"], abs=4.0 * weight.sum() ** -0.5)
    # Positions in the file count its own pixels: the same ones half a pixel further left.
    shift = np.median(other["x"][j] - one["x"][i])
    assert shift == pytest.approx(-0.5, abs=0.03)
    (again,) = measure(url, [moved], is_reprojected=True).rows
    assert again.state == "known"


# --- alignment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(AlignKind))
def test_an_image_that_lies_apart_is_moved_when_asked(
    url: str, field_paths: list[Path], tmp_path: Path, kind: AlignKind
) -> None:
    apart = draw_mosaic(1, "nrcblong", shift_px=(0.6, -0.4))
    path = write_mosaic(tmp_path, apart)
    pair = [field_paths[0], path]
    plain = measure(url, pair)
    assert [row.align for row in plain.rows] == ["", ""]
    before = _offsets_px(url, pair, version=1)
    assert before == pytest.approx((0.6, -0.4), abs=0.05)
    aligned = measure(url, pair, align=kind, replaces=True)
    # The detection image stays where it is, and so does its catalog.
    assert [row.state for row in aligned.rows] == ["known", "measured"]
    assert aligned.rows[1].align.startswith(f"{kind}: x -3")
    after = _offsets_px(url, pair, version=2)
    assert after == pytest.approx((0.0, 0.0), abs=0.05)
    # The pixels in the file are those of before.
    old, new = (detections(url, path, version=version) for version in (1, 2))
    i, j = matched(old, new)
    assert np.median(new["x"][j] - old["x"][i]) == pytest.approx(0.0, abs=0.02)
    settings = str(catalog_rows(url)[-1].settings)
    assert f'"align": "{kind}"' in settings
    assert '"align_dx_px": "-0.' in settings
    (again,) = measure(url, [path], align=kind).rows
    assert again.state == "known"


def _offsets_px(url: str, pair: list[Path], version: int) -> tuple[float, float]:
    """Return the median offset of bright sources of the second mosaic [pixel east, north]."""
    one, other = detections(url, pair[0]), detections(url, pair[1], version=version)
    i, j = matched(one, other)
    is_bright = (one["mag_err"][i] < 0.1) & (one["flags"][i] == 0) & (other["flags"][j] == 0)
    i, j = i[is_bright], j[is_bright]
    cos_dec = np.cos(np.radians(one["dec_deg"][i]))
    east = (other["ra_deg"][j] - one["ra_deg"][i]) * cos_dec * 3600.0 / GRID.scale_arcsec
    north = (other["dec_deg"][j] - one["dec_deg"][i]) * 3600.0 / GRID.scale_arcsec
    # East is to the left.
    return -float(np.median(east)), float(np.median(north))


def test_too_few_stars_are_a_refusal(db_url: str, field_paths: list[Path]) -> None:
    # A1 and A2 share a strip of 60 pixels.
    with pytest.raises(FitRefusedError, match=r"cannot be aligned to its detection image"):
        measure(db_url, [field_paths[0], field_paths[2]], align=AlignKind.LINEAR)
    assert sum(row_counts(db_url).values()) == 0
