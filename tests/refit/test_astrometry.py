"""Position offsets between epochs (Table 1) against what was injected; stored alignments."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import CatalogRow, DetectionRow, ExposureRow
from calreg.errors import UnknownKeyError
from calreg.science.imaging.alignment import AlignKind, Alignment
from calreg.simulation.programme import ASTROMETRY
from support.programmes import Files, Prepared, small_programme, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.simulation.simulate import SimulatedMosaic
    from calreg.simulation.sources import SimulatedDetections

BAND = "F444W"
INJECTED_MAS = np.array([+14.0, -9.0])
EPOCHS = ("2022-07-08", "2023-01-06", "2023-07-06")


def test_table_1_comes_back(jwidf: Prepared) -> None:
    """The simulated second epoch has the paper's offsets against the first, the third has none."""
    with Registry(jwidf.url, read_only=True) as registry:
        report = registry.astrometry()
    assert report.warnings == []
    keys = [(row.pmap, row.band, row.epoch_i, row.epoch_j) for row in report.rows]
    pairs = [(EPOCHS[0], EPOCHS[1]), (EPOCHS[0], EPOCHS[2]), (EPOCHS[1], EPOCHS[2])]
    assert keys == [
        (pmap, band, *pair)
        for pmap in ("jwst_1039.pmap", "jwst_1130.pmap")
        for band in ASTROMETRY
        for pair in pairs
    ]
    pulls = []
    for row, offsets in zip(report.rows, report.offsets_mas, strict=True):
        truth = ASTROMETRY[row.band]
        sign = {pairs[0]: 1.0, pairs[1]: 0.0, pairs[2]: -1.0}[row.epoch_i, row.epoch_j]
        assert row.ra_median_err_mas is not None
        assert row.dec_median_err_mas is not None
        pulls += [
            (row.ra_median_mas - sign * truth.ra_mas) / row.ra_median_err_mas,
            (row.dec_median_mas - sign * truth.dec_mas) / row.dec_median_err_mas,
        ]
        # A MAD of 170 sources is uncertain by 9 per cent; sources in two patches scatter less.
        assert row.ra_mad_mas == pytest.approx(truth.ra_mad_mas, rel=0.35)
        assert row.dec_mad_mas == pytest.approx(truth.dec_mad_mas, rel=0.35)
        assert offsets.shape == (2, row.n_sources)
        assert np.median(offsets, axis=1) == pytest.approx([row.ra_median_mas, row.dec_median_mas])
    # 48 numbers, one in 1e4 beyond 4 sigma.
    assert np.abs(pulls).max() < 4.0
    assert np.std(pulls) < 1.5


def test_a_source_counts_once(jwidf: Prepared) -> None:
    """Sources in the overlap of two arrays have two pairs; Table 1 counts sources."""
    with Registry(jwidf.url, read_only=True) as registry:
        row = registry.astrometry(pmap="1130", band="F200W").rows[0]
        patches = registry.offsets(pmap="1130", band="F200W")
    n_pairs = sum(
        patch.n for patch in patches if (patch.epoch_i, patch.epoch_j) == (row.epoch_i, row.epoch_j)
    )
    # The paper's Table 1 has 213 sources, its Table 2 226 in all arrays.
    assert row.n_sources < n_pairs


def test_refit_reports_the_same_numbers(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(list(small_files.paths))
        reported = registry.refit().pairing.astrometry
        asked = registry.astrometry().rows
    assert sorted(map(str, reported)) == sorted(map(str, asked))


def shifted(mosaic: SimulatedMosaic) -> SimulatedDetections:
    """Move the second epoch's catalogs."""
    detections = mosaic.detections
    if mosaic.epoch.number != 2:
        return detections
    changed = {}
    for prefix in ("", "_win"):
        ra, dec = f"ra{prefix}_deg", f"dec{prefix}_deg"
        dec_deg = getattr(detections, dec)
        step_deg = INJECTED_MAS / 3.6e6
        changed[ra] = getattr(detections, ra) + step_deg[0] / np.cos(np.radians(dec_deg))
        changed[dec] = dec_deg + step_deg[1]
    return replace(detections, **changed)


@pytest.fixture(scope="module")
def shifted_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Write a programme whose second epoch is off by more than the warning's 5 mas."""
    programme = small_programme(bands=(BAND,))
    mosaics = tuple(replace(mosaic, detections=shifted(mosaic)) for mosaic in programme.mosaics)
    return write_files(replace(programme, mosaics=mosaics), tmp_path_factory.mktemp("shifted"))


def test_large_offsets_are_measured_and_warned_of(db_url: str, shifted_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(list(shifted_files.paths))
        registry.refit()
        report = registry.astrometry()
    truth = INJECTED_MAS + np.array([ASTROMETRY[BAND].ra_mas, ASTROMETRY[BAND].dec_mas])
    for row, sign in zip(report.rows, (1.0, 0.0, -1.0), strict=True):
        assert row.ra_median_err_mas is not None
        assert row.dec_median_err_mas is not None
        assert row.ra_median_mas == pytest.approx(sign * truth[0], abs=4 * row.ra_median_err_mas)
        assert row.dec_median_mas == pytest.approx(sign * truth[1], abs=4 * row.dec_median_err_mas)
        assert row.is_large == (sign != 0.0)
    assert len(report.warnings) == 2
    for warning in report.warnings:
        assert "--align shift" in warning
        assert EPOCHS[1] in warning


# --- which sources --------------------------------------------------------------------------------


def test_extended_and_faint_sources_are_left_out(small_url: str) -> None:
    with Registry(small_url) as registry:
        before = registry.astrometry(band=BAND).rows
        bright = registry.astrometry(band=BAND, mag_limit=20.0).rows
        assert registry.astrometry(band=BAND, sizes="compact").rows == []
    assert all(b.n_sources < a.n_sources for a, b in zip(before, bright, strict=True))
    assert all(row.n_unknown_size == row.n_sources for row in before)
    with open_database(small_url) as database, database.write() as connection:
        update = sa.update(DetectionRow)
        connection.execute(update.where(DetectionRow.number % 3 == 0).values(compactness=0))
        connection.execute(update.where(DetectionRow.number % 3 == 1).values(compactness=1))
    with Registry(small_url) as registry:
        by_default = registry.astrometry(band=BAND)
        compact = registry.astrometry(band=BAND, sizes="compact")
        everything = registry.astrometry(band=BAND, sizes="all")
    for row, default, small, every in zip(
        before, by_default.rows, compact.rows, everything.rows, strict=True
    ):
        assert small.n_sources < default.n_sources < every.n_sources == row.n_sources
        assert small.n_unknown_size == 0
        assert default.n_sources - small.n_sources == default.n_unknown_size > 0
    assert "do not say whether they are compact" in by_default.notes[0]
    assert compact.notes == everything.notes == []


def test_only_what_is_asked_for(small: Prepared) -> None:
    with Registry(small.url, read_only=True) as registry:
        rows = registry.astrometry().rows
        assert {row.band for row in rows} == {"F200W", "F444W"}
        assert registry.astrometry(band="f444w").rows == [r for r in rows if r.band == BAND]
        assert registry.astrometry(pmap="1039").rows == []
        assert registry.astrometry(field=rows[0].field).rows == rows
        with pytest.raises(UnknownKeyError, match="unknown field 'Nowhere'"):
            registry.astrometry(field="Nowhere")


# --- not matched yet ------------------------------------------------------------------------------


def test_epochs_that_are_not_matched_are_named(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(epoch=1, band=BAND))
        assert registry.astrometry().notes == []
        registry.ingest(small_files.select(epoch=2, band=BAND))
        report = registry.astrometry()
        assert report.rows == []
        (note,) = report.notes
        assert f"{BAND}: not matched yet: {EPOCHS[0]} -> {EPOCHS[1]}; run calreg refit" in note
        registry.refit()
        registry.ingest(small_files.select(epoch=3, band=BAND))
        report = registry.astrometry()
        assert [(row.epoch_i, row.epoch_j) for row in report.rows] == [EPOCHS[:2]]
        assert f"{EPOCHS[0]} -> {EPOCHS[2]}, {EPOCHS[1]} -> {EPOCHS[2]}" in report.notes[0]
        assert "calreg refit --max-sep 0.2" in registry.astrometry(max_sep_arcsec=0.2).notes[0]


# --- alignments -----------------------------------------------------------------------------------


def test_a_stored_alignment_is_visible(small_url: str) -> None:
    fitted = Alignment(
        AlignKind.SHIFT, np.array([0.2, -0.1]), np.zeros((2, 2)), np.zeros(2), 31, 33, 9.5, 2.0
    )
    text = "shift: x +12.0, y -6.0 mas from 31 sources, rms per axis 9.5 -> 2.0 mas"
    with open_database(small_url) as database, database.write() as connection:
        row = connection.execute(
            sa.select(CatalogRow.id, CatalogRow.settings, ExposureRow.file_name)
            .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
            .where(ExposureRow.band == BAND, ExposureRow.array == "nrcalong")
            .order_by(ExposureRow.expstart_mjd_utc)
        ).all()[1]
        settings = {**json.loads(row.settings), **fitted.to_text(0.06)}
        connection.execute(
            sa.update(CatalogRow)
            .where(CatalogRow.id == row.id)
            .values(settings=json.dumps(settings))
        )
    with Registry(small_url) as registry:
        report = registry.astrometry(band=BAND)
    for found in report.rows:
        has_it = EPOCHS[1] in (found.epoch_i, found.epoch_j)
        assert found.aligned == ("1 image" if has_it else "")
        for image in found.alignments:
            assert (image.epoch, image.file_name) == (EPOCHS[1], row.file_name)
            assert image.text == text
        # The other array's mosaic of that epoch was not.
        assert not found.is_aligned
    (note,) = (note for note in report.notes if "aligned before it was measured" in note)
    assert text in note


def test_no_warning_where_isophotes_were_aligned(db_url: str, shifted_files: Files) -> None:
    """The images are as far apart as before; measured was inside isophotes that fit."""
    fitted = Alignment(
        AlignKind.SHIFT, np.array([0.2, -0.1]), np.zeros((2, 2)), np.zeros(2), 31, 33, 9.5, 2.0
    )
    with Registry(db_url) as registry:
        registry.ingest(list(shifted_files.paths))
        registry.refit()
        with open_database(db_url) as database, database.write() as connection:
            second = sa.select(ExposureRow.id).where(
                ExposureRow.expstart_mjd_utc.between(59900.0, 60000.0)
            )
            update = sa.update(CatalogRow).where(CatalogRow.exposure_id.in_(second))
            connection.execute(update.values(settings=json.dumps(fitted.to_text(0.06))))
        report = registry.astrometry()
    assert [row.is_large for row in report.rows] == [True, False, True]
    assert [row.is_aligned for row in report.rows] == [True, False, True]
    assert report.warnings == []


# --- the figure -----------------------------------------------------------------------------------


def test_figure_is_drawn_and_reproducible(small: Prepared, tmp_path: Path) -> None:
    with Registry(small.url, read_only=True) as registry:
        report = registry.astrometry(band=BAND)
        for name in ("a.png", "b.png", "a.pdf"):
            registry.plot_astrometry(report, tmp_path / name)
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
