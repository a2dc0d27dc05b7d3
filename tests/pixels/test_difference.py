"""Difference images of mosaics with injected offsets: signs, sizes, what a correction leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from calreg import Registry
from calreg.errors import (
    InvalidValueError,
)
from calreg.science.imaging.differencing import RESIDUAL_LIMIT
from calreg.science.model.gradient import GradientDatum
from support.differencefixtures import (
    E1,
    E2,
    E3,
    LONG,
    SHORT,
    assert_within,
    halves,
    make,
    replaced,
)
from support.differenceworld import World, expected_residuals, make_world
from support.programmes import Prepared, row_counts

if TYPE_CHECKING:
    from pathlib import Path

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
