"""Mosaics in, catalogs out: what is measured, what is stored, and what is not measured again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from benchmarks.skyscene import GAIN
from calreg import Registry
from calreg.domain import FluxKind
from calreg.errors import ConflictError, OutputError
from calreg.flags import DetectionFlag
from calreg.ingest.options import IngestOptions
from calreg.science.photometry.settings import DetectionSettings
from support.measuring import catalog_rows, detections, matched, measure, row_counts
from support.skymosaics import (
    GRID,
    NX,
    NY,
    OFFSETS_MAG,
    SCALE_ARCSEC,
    draw_mosaic,
    write_field,
    write_mosaic,
)

OTHER = DetectionSettings(threshold_sigma=2.5)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return an empty registry, where nothing depends on the engine."""
    made = f"sqlite:///{tmp_path}/calreg.sqlite"
    Registry.init(made)
    return made


@pytest.fixture(scope="module")
def field_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two arrays in three epochs: A1 B1 A2 B2 A3 B3."""
    return write_field(tmp_path_factory.mktemp("field"), n_epochs=3)


# --- what is measured ----------------------------------------------------------------------------


def test_both_arrays_are_measured_inside_the_isophotes_of_the_first_epoch(
    db_url: str, field_paths: list[Path]
) -> None:
    report = measure(db_url, field_paths[:4])
    assert report.is_committed
    assert report.warnings == []
    a1, b1, a2, b2 = report.rows
    assert [row.epoch for row in report.rows] == ["2022-07-08"] * 2 + ["2023-01-06"] * 2
    assert (a1.detection, b1.detection) == (a1.file, b1.file)
    # With the roll reversed, each array sees most of what the other saw, and a strip of its own.
    for row in (a2, b2):
        assert set(row.detection.split()) == {a1.file, b1.file}
    for row in report.rows:
        assert (row.state, row.version, row.field) == ("measured", 1, "JWIDF")
        n_sources, n_compact = row.n_sources or 0, row.n_compact or 0
        assert 50 < n_sources < 110
        assert 0 < n_compact < n_sources
        assert row.outside_percent == pytest.approx(0.0, abs=1e-9)
        # 0.3 arcsec hold 78.5 pixels of 0.02 MJy/sr and 0.0846 uJy each per MJy/sr.
        assert row.depth_mag == pytest.approx(26.7, abs=0.1)
    rows = catalog_rows(db_url)
    assert len(rows) == 12
    assert {row.flux_kind for row in rows} == {"iso", "auto", "aper"}
    assert {row.aperture for row in rows if row.flux_kind == "aper"} == {"r=0.3 arcsec"}
    assert {(row.origin, row.version, row.mag_origin) for row in rows} == {("pixels", 1, "flux")}
    assert all(row.file_name == row.image for row in rows)
    assert json.loads(rows[0].settings)["threshold_sigma"] == "1.5"
    with Registry(db_url) as registry:
        assert registry.check() == []
    # The field's centre is seen by the middle of the detector, 0.063 arcsec per pixel.
    found = detections(db_url, field_paths[0])
    reach = 0.5 * np.hypot(NX, NY) * SCALE_ARCSEC / 0.062
    assert np.hypot(found["x_det"] - 1023.5, found["y_det"] - 1023.5).max() < reach
    assert np.isfinite(found["v2_arcsec"]).all()


@pytest.mark.parametrize("kind", ["iso", "auto", "aper"])
def test_the_offset_between_the_arrays_comes_back(
    db_url: str, field_paths: list[Path], kind: str
) -> None:
    measure(db_url, field_paths[:4])
    a1, b2 = (detections(db_url, field_paths[n], kind) for n in (0, 3))
    i, j = matched(a1, b2)
    assert i.size > 60
    assert np.unique(i).size == i.size
    is_clean = (a1["mag_err"][i] < 0.1) & (a1["flags"][i] == 0) & (b2["flags"][j] == 0)
    i, j = i[is_clean], j[is_clean]
    weight = 1.0 / (a1["mag_err"][i] ** 2 + b2["mag_err"][j] ** 2)
    offset_mag = np.average(a1["mag_ab"][i] - b2["mag_ab"][j], weights=weight)
    err_mag = weight.sum() ** -0.5
    # A reads too faint.
    assert err_mag < 0.005
    assert offset_mag == pytest.approx(OFFSETS_MAG["nrcalong"], abs=4.0 * err_mag)


def test_each_source_of_a_seam_is_there_once(db_url: str, field_paths: list[Path]) -> None:
    measure(db_url, field_paths[:4])
    for path in field_paths[:4]:
        found = detections(db_url, path)
        i, j = matched(found, found)
        # Only with themselves.
        np.testing.assert_array_equal(i, j)
        assert np.unique(found["number"]).size == found["number"].size


def test_a_later_epoch_is_measured_as_with_all_at_once(
    db_url: str, field_paths: list[Path], tmp_path: Path
) -> None:
    measure(db_url, field_paths[:4])
    report = measure(db_url, field_paths[4:])
    assert {row.state for row in report.rows} == {"measured"}
    assert set(report.rows[0].detection.split()) == {path.name for path in field_paths[:2]}
    other = f"sqlite:///{tmp_path}/other.sqlite"
    Registry.init(other)
    measure(other, field_paths)
    for path in field_paths:
        one, all_at_once = detections(db_url, path), detections(other, path)
        for name, values in one.items():
            np.testing.assert_array_equal(values, all_at_once[name], err_msg=name)


def test_processes_do_not_change_the_numbers(
    db_url: str, field_paths: list[Path], tmp_path: Path
) -> None:
    measure(db_url, field_paths[:4], n_processes=2)
    other = f"sqlite:///{tmp_path}/other.sqlite"
    Registry.init(other)
    measure(other, field_paths[:4])
    for path in field_paths[:4]:
        for kind in ("iso", "auto", "aper"):
            two, one = (detections(url, path, kind) for url in (db_url, other))
            for name, values in two.items():
                np.testing.assert_array_equal(values, one[name], err_msg=name)


def test_errors_know_that_drizzled_pixels_share_noise(
    db_url: str, field_paths: list[Path], tmp_path: Path
) -> None:
    plain = measure(db_url, field_paths[:1], stores=False, out=tmp_path / "plain.ecsv")
    mosaic = write_mosaic(tmp_path, draw_mosaic(0, "nrcalong"), primary={"NOISCORR": 1.5})
    measured = measure(db_url, [mosaic], out=tmp_path / "drizzled.ecsv")
    ours, single = (Table.read(tmp_path / f"{name}.ecsv") for name in ("drizzled", "plain"))
    for kind in ("ISO", "AUTO", "APER"):
        np.testing.assert_array_equal(ours[f"FLUX_{kind}"], single[f"FLUX_{kind}"])
        np.testing.assert_allclose(
            ours[f"FLUXERR_{kind}"], 1.5 * single[f"FLUXERR_{kind}"], rtol=1e-12
        )
    np.testing.assert_allclose(ours["SNR_ISO"], single["SNR_ISO"] / 1.5, rtol=1e-12)
    shallower = (plain.rows[0].depth_mag or 0.0) - (measured.rows[0].depth_mag or 0.0)
    assert shallower == pytest.approx(2.5 * np.log10(1.5), abs=1e-9)
    (row, *_) = catalog_rows(db_url)
    assert json.loads(str(row.settings))["noise_correlation"] == "1.5"


@pytest.mark.parametrize("plane", ["SCI", "WHT", "ERR", "DQ"])
def test_pixels_without_data_enter_no_sum(
    url: str, field_paths: list[Path], tmp_path: Path, plane: str
) -> None:
    measure(url, field_paths[:1])
    whole = detections(url, field_paths[0])
    brightest = int(np.nanargmax(whole["flux_ujy"]))
    x, y = (round(float(whole[axis][brightest])) for axis in ("x", "y"))
    mosaic = draw_mosaic(1, "nrcblong")
    hole = np.s_[y - 1 : y + 2, x - 1 : x + 2]
    sci, err = mosaic.sci.copy(), mosaic.err.copy()
    wht = np.ones_like(sci)
    dq = np.zeros(sci.shape, dtype=np.uint32)
    # What lies there is absurd, so that any sum would show it.
    sci[hole] = np.nan if plane == "SCI" else 1e9
    err[hole] = np.nan if plane == "ERR" else err[hole]
    wht[hole] = 0.0 if plane == "WHT" else 1.0
    dq[hole] = 1 if plane == "DQ" else 0
    planes = {"SCI": sci, "ERR": err, "WHT": wht, "DQ": dq}
    path = write_mosaic(tmp_path, mosaic, planes=planes)
    measure(url, [path])
    found = detections(url, path)
    offset = np.hypot(found["ra_deg"] - whole["ra_deg"][brightest], 0.0) * 3600.0
    offset = np.hypot(offset * 0.41, (found["dec_deg"] - whole["dec_deg"][brightest]) * 3600.0)
    row = int(np.argmin(offset))
    lost = DetectionFlag.ISOPHOTE_INCOMPLETE | DetectionFlag.APERTURE_INCOMPLETE
    assert int(found["flags"][row]) & lost == lost
    assert 0.0 < found["flux_ujy"][row] < whole["flux_ujy"][brightest]
    for kind in ("iso", "auto", "aper"):
        assert np.nanmax(detections(url, path, kind)["flux_ujy"]) < 100.0
        assert np.nanmax(detections(url, path, kind)["flux_err_ujy"]) < 1.0


def test_gain_adds_the_noise_of_photons(url: str, field_paths: list[Path]) -> None:
    measure(url, field_paths[:1], has_weights=False)
    plain = detections(url, field_paths[0])
    measure(url, field_paths[:1], has_weights=False, gain=GAIN, replaces=True)
    with_gain = detections(url, field_paths[0], version=2)
    np.testing.assert_array_equal(with_gain["flux_ujy"], plain["flux_ujy"])
    # Microjansky per unit of the sums, GRID's pixels.
    scale = GRID.pixel_sr * 1e12
    photons = np.maximum(plain["flux_ujy"], 0.0) * scale / GAIN
    variance = plain["flux_err_ujy"] ** 2 + photons
    np.testing.assert_allclose(with_gain["flux_err_ujy"] ** 2, variance, rtol=1e-9)


# --- once only -----------------------------------------------------------------------------------


def test_the_same_settings_are_not_measured_twice(
    db_url: str, field_paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(db_url, field_paths[:4])
    before = row_counts(db_url)
    monkeypatch.setattr("calreg.pixels.measure.patches.read_planes", _unread)
    report = measure(db_url, field_paths[:4])
    assert {row.state for row in report.rows} == {"known"}
    assert {row.n_sources for row in report.rows} == {None}
    assert not report.is_committed
    assert row_counts(db_url) == before


def _unread(*_: object, **__: object) -> None:
    """Stand for a reader of pixels that must not be called."""
    pytest.fail("pixels were read")


def test_other_settings_are_a_conflict_before_any_pixel_is_read(
    db_url: str, field_paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(db_url, field_paths[:4])
    before = row_counts(db_url)
    monkeypatch.setattr("calreg.pixels.measure.patches.read_planes", _unread)
    with pytest.raises(ConflictError, match=r"threshold_sigma 1\.5 -> 2\.5\).*--replace") as caught:
        measure(db_url, field_paths[:4], settings=OTHER)
    assert "unset" not in str(caught.value)
    assert row_counts(db_url) == before


def test_replaced_numbers_are_a_new_version(db_url: str, field_paths: list[Path]) -> None:
    measure(db_url, field_paths[:4])
    old = detections(db_url, field_paths[3])
    report = measure(db_url, field_paths[:4], settings=OTHER, replaces=True)
    assert {row.version for row in report.rows} == {2}
    new = detections(db_url, field_paths[3], version=2)
    assert 0 < new["number"].size < old["number"].size
    for name, values in detections(db_url, field_paths[3], version=1).items():
        np.testing.assert_array_equal(values, old[name])
    again = measure(db_url, field_paths[:4], settings=OTHER, replaces=True)
    assert {row.state for row in again.rows} == {"known"}


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["ecsv", "fits", "parquet"])
def test_a_file_that_is_written_comes_back_the_same(
    db_url: str, field_paths: list[Path], tmp_path: Path, ending: str
) -> None:
    paths = field_paths[:4]
    measure(db_url, paths, out=tmp_path / f"{{}}.{ending}", stores=False)
    assert sum(row_counts(db_url).values()) == 0
    measure(db_url, paths)
    written = sorted(tmp_path.glob(f"*.{ending}"))
    assert len(written) == 4
    other = f"sqlite:///{tmp_path}/other.sqlite"
    Registry.init(other)
    for kind in ("iso", "auto", "aper"):
        with Registry(other) as registry:
            report = registry.ingest(
                [*paths, *written], IngestOptions(flux=FluxKind(kind), is_strict=True)
            )
            assert report.refused == []
        for path in paths:
            stored, read = (detections(url, path, kind) for url in (db_url, other))
            assert stored["number"].size > 50
            for name, values in stored.items():
                np.testing.assert_allclose(values, read[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_file_that_cannot_be_written_leaves_the_registry_alone(
    db_url: str, field_paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail_at_the_third(*arguments: object, **_: object) -> None:
        calls.append(arguments)
        Path(str(arguments[1])).write_bytes(b"half")
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("calreg.files.catalogs.write._write", fail_at_the_third)
    folder = tmp_path / "catalogs"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        measure(db_url, field_paths[:4], out=folder / "{}.ecsv")
    assert sum(row_counts(db_url).values()) == 0
    assert list(folder.iterdir()) == []
