"""Medians per patch, Eq. 7 and 8, the counts of Table 2 and the astrometry of Table 1."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import PairGroupRow, PairRow, PmapRow, VariableSourceRow
from calreg.errors import InvalidValueError, UnknownKeyError
from calreg.science.model.settings import FitSettings
from calreg.simulation.programme import ASTROMETRY, SOURCE_COUNTS
from calreg.units import MAG_PER_RELATIVE_FLUX
from support.programmes import OLD_PMAP, PMAP, Files, Prepared

if TYPE_CHECKING:
    from calreg.refit.patches import OffsetRow

EPOCHS = ("2022-07-08", "2023-01-06", "2023-07-06")


def offsets(url: str, **wanted: str) -> list[OffsetRow]:
    with Registry(url, read_only=True) as registry:
        return registry.offsets(**wanted)  # type: ignore[arg-type]


def test_counts_are_those_of_table_2(jwidf: Prepared) -> None:
    rows = [row for row in offsets(jwidf.url) if (row.epoch_i, row.epoch_j) == EPOCHS[:2]]
    for pmap in (OLD_PMAP, PMAP):
        counted = {(row.band, row.array_i): row.n for row in rows if row.pmap == pmap}
        expected = {
            (band, array): n
            for band, counts in SOURCE_COUNTS.items()
            for array, n in counts.items()
        }
        assert counted == expected
    # Six dithers, counted from the mosaics' members: no exposure was ingested.
    assert {(row.n_raw_i, row.n_raw_j) for row in rows} == {(6, 6)}


def test_every_patch_of_every_pair_of_epochs_is_there_once_and_in_order(jwidf: Prepared) -> None:
    rows = offsets(jwidf.url, pmap=PMAP, band="F444W")
    assert [(row.epoch_i, row.epoch_j, row.relation, row.array_i, row.array_j) for row in rows] == [
        (EPOCHS[0], EPOCHS[1], "opposite", "nrcalong", "nrcblong"),
        (EPOCHS[0], EPOCHS[1], "opposite", "nrcblong", "nrcalong"),
        (EPOCHS[0], EPOCHS[2], "equal", "nrcalong", "nrcalong"),
        (EPOCHS[0], EPOCHS[2], "equal", "nrcblong", "nrcblong"),
        (EPOCHS[1], EPOCHS[2], "opposite", "nrcalong", "nrcblong"),
        (EPOCHS[1], EPOCHS[2], "opposite", "nrcblong", "nrcalong"),
    ]
    everything = offsets(jwidf.url)
    assert len(everything) == 2 * 6 * 10
    pmaps = [row.pmap for row in everything]
    assert pmaps == sorted(pmaps)


def differences(url: str, row: OffsetRow, mag_limit: float, snr: float) -> list[float]:
    """Return later - earlier of the pairs of a patch, straight from the table."""
    pair, group = PairRow.__table__.c, PairGroupRow.__table__.c
    variable = sa.select(VariableSourceRow.source_id)
    statement = (
        sa.select(pair.mag_j - pair.mag_i)
        .join(PairGroupRow, group.id == pair.group_id)
        .join(PmapRow, PmapRow.id == group.pmap_id)
        .where(
            PmapRow.name == row.pmap,
            group.band == row.band,
            group.array_i == row.array_i,
            group.array_j == row.array_j,
            group.epoch_i_id == EPOCHS.index(row.epoch_i) + 1,
            group.epoch_j_id == EPOCHS.index(row.epoch_j) + 1,
            pair.flags == 0,
            (pair.mag_i + pair.mag_j) / 2 < mag_limit,
            (pair.mag_err_i + pair.mag_err_j) / 2 <= MAG_PER_RELATIVE_FLUX / snr,
            pair.source_id.not_in(variable),
        )
    )
    with open_database(url, read_only=True) as database, database.read() as connection:
        return [float(value) for value in connection.scalars(statement)]


@pytest.mark.parametrize("settings", [FitSettings(), FitSettings(mag_limit=21.0, snr=200.0)])
def test_medians_and_mads_are_those_of_the_pairs(small: Prepared, settings: FitSettings) -> None:
    with Registry(small.url, read_only=True) as registry:
        rows = registry.offsets(settings=settings)
    for row in rows:
        dmag = differences(small.url, row, settings.mag_limit, settings.snr)
        assert row.n == len(dmag) > 0
        median = statistics.median(dmag)
        assert row.median_mag == pytest.approx(median, abs=1e-12)
        mad = statistics.median(abs(value - median) for value in dmag)
        assert row.mad_mag == pytest.approx(mad, abs=1e-12)


def test_offset_and_time_term_are_equations_7_and_8(jwidf: Prepared) -> None:
    rows = {
        (row.pmap, row.band, row.array_id, row.epoch_i, row.epoch_j, row.array_i): row
        for row in offsets(jwidf.url)
    }
    for key, row in rows.items():
        if row.relation == "equal":
            assert row.offset_ab_mag is None
            assert row.time_mag == row.median_mag
            continue
        patch_p = rows[(*key[:5], f"nrcb{row.array_id}")]
        patch_q = rows[(*key[:5], f"nrca{row.array_id}")]
        assert patch_p.median_mag is not None
        assert patch_q.median_mag is not None
        assert row.offset_ab_mag == pytest.approx(
            (patch_p.median_mag - patch_q.median_mag) / 2.0, abs=1e-15
        )
        assert row.time_mag == pytest.approx(
            (patch_p.median_mag + patch_q.median_mag) / 2.0, abs=1e-15
        )
        # sqrt(pi/2) 1.4826 MAD / sqrt(n) per patch, added in quadrature and halved.
        errors = [
            math.sqrt(math.pi / 2.0) * 1.482602218505602 * patch.mad_mag / math.sqrt(patch.n)
            for patch in (patch_p, patch_q)
            if patch.mad_mag is not None
        ]
        expected = 0.5 * math.hypot(*errors)
        assert row.offset_ab_err_mag == pytest.approx(expected, rel=1e-12)
        assert row.time_err_mag == pytest.approx(expected, rel=1e-12)


def test_medians_find_the_truth_where_there_is_no_gradient(jwidf: Prepared) -> None:
    pulls = []
    for row in offsets(jwidf.url):
        if row.relation == "equal" or row.array_id == "long" or row.array_i.startswith("nrca"):
            continue
        truth = jwidf.files.programme.true_coefficients(row.pmap, row.band, row.array_id)
        assert row.offset_ab_mag is not None
        assert row.offset_ab_err_mag is not None
        assert row.time_mag is not None
        pulls.append((row.offset_ab_mag - truth.offset_ab_mag) / row.offset_ab_err_mag)
        pulls.append(row.time_mag / row.offset_ab_err_mag)
    assert len(pulls) == 64
    # Errors from a MAD of 19 sources are themselves uncertain by a fifth.
    assert max(map(abs, pulls)) < 5.0
    assert math.sqrt(statistics.fmean(pull**2 for pull in pulls)) < 1.6


def test_filters_choose_rows(jwidf: Prepared) -> None:
    everything = offsets(jwidf.url)
    assert offsets(jwidf.url, band="f150w", array_id="nrcb2", pmap="1039") == [
        row
        for row in everything
        if (row.band, row.array_id, row.pmap) == ("F150W", "2", "jwst_1039.pmap")
    ]
    assert offsets(jwidf.url, field="JWIDF") == everything
    with Registry(jwidf.url, read_only=True) as registry:
        with pytest.raises(InvalidValueError, match="latest"):
            registry.offsets(pmap="latest")
        with pytest.raises(UnknownKeyError, match="F999W"):
            registry.offsets(band="F999W")


def test_a_search_radius_without_pairs_has_no_rows(small: Prepared) -> None:
    with Registry(small.url, read_only=True) as registry:
        assert registry.offsets(settings=FitSettings(max_sep_arcsec=0.2)) == []


# --- astrometry -----------------------------------------------------------------------------------


def test_astrometry_is_that_of_table_1(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(list(small_files.paths))
        rows = registry.refit().pairing.astrometry
        assert registry.refit().pairing.astrometry == []
    assert [(row.band, row.epoch_i, row.epoch_j) for row in rows] == [
        (band, *pair)
        for band in ("F200W", "F444W")
        for pair in (EPOCHS[:2], (EPOCHS[0], EPOCHS[2]), EPOCHS[1:])
    ]
    for row in rows:
        table = ASTROMETRY[row.band]
        # Epoch 2 carries the offset: epoch 3 against 1 has none, against 2 the opposite.
        sign = {EPOCHS[:2]: 1.0, EPOCHS[1:]: -1.0}.get((row.epoch_i, row.epoch_j), 0.0)
        for found, mad, expected, expected_mad in (
            (row.ra_median_mas, row.ra_mad_mas, table.ra_mas, table.ra_mad_mas),
            (row.dec_median_mas, row.dec_mad_mas, table.dec_mas, table.dec_mad_mas),
        ):
            # The error of the median: 1.25 x 1.48 MAD / sqrt(n).
            tolerance = 4.0 * 1.86 * mad / math.sqrt(row.n_sources)
            assert found == pytest.approx(sign * expected, abs=tolerance)
            # Faint sources scatter more than the bright ones that the injected MAD holds for.
            assert 0.8 * expected_mad < mad < 1.5 * expected_mad
        assert row.n_sources > 100
        assert not row.is_large


def test_the_offset_that_matching_removed_stands_beside_its_patch(small: Prepared) -> None:
    for row in offsets(small.url):
        assert row.ra_median_mas is not None
        assert row.ra_mad_mas is not None
        assert abs(row.ra_median_mas) < 4.0
        assert 1.0 < row.ra_mad_mas < 6.0
