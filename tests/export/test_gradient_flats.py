"""The sign of a gradient, from stars to flats and back: corrected data have none left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from calreg import Registry
from support.gradientsky import (
    ARRAYS,
    MIDDLE,
    PHOTMJSR,
    PMAP,
    DetectorTruth,
    Pointing,
    write_epochs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.sets.coefficients import CoefficientsRow

# Only the sum of both gradients is measured; they differ in size and sign.
TRUTH = {"nrcalong": DetectorTruth(0.013, 8e-6), "nrcblong": DetectorTruth(-0.004, -2e-6)}
SCALE_ARCMIN = 0.0628 / 60.0


def fitted(url: str, paths: list[Path]) -> CoefficientsRow:
    """Return the one set of a registry of some files."""
    with Registry.create(url) as registry:
        assert registry.ingest(paths).refused == []
        registry.refit()
        (row,) = registry.coefficients()
    return row


def exported(url: str, folder: Path, datum: str) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return photom factors and flats as they are in the files, by array."""
    with Registry(url) as registry:
        registry.export_photom(folder, pmap=PMAP, gradient_datum=datum, all_arrays=True)
        registry.export_flat(folder, pmap=PMAP, gradient_datum=datum)
    factors, flats = {}, {}
    for name in ARRAYS:
        table = fits.getdata(folder / f"jwst_nircam_photom_calreg1130_{name}.fits", "PHOTOM")
        factors[name] = float(table["photmjsr"][0]) / PHOTMJSR[name]
        flat = folder / f"jwst_nircam_flat_calreg1130_{name}_f444w.fits"
        flats[name] = fits.getdata(flat, "SCI") if flat.exists() else np.ones((2048, 2048))
    return factors, flats


@pytest.mark.parametrize(("datum", "turn_deg"), [("symmetric", 0.0), ("B", 180.0)])
def test_a_gradient_is_gone_after_its_flats(datum: str, turn_deg: float, tmp_path: Path) -> None:
    pointings = (
        Pointing(59768.3, 37.0 + turn_deg),
        Pointing(59950.3, 37.0 + turn_deg + 179.3, east_arcsec=4.0, north_arcsec=-3.0),
    )
    url = f"sqlite:///{tmp_path / 'before.sqlite'}"
    paths = write_epochs(tmp_path / "before", TRUTH, seed=5, pointings=pointings)
    before = fitted(url, paths)
    expected = -(8e-6 - 2e-6) / SCALE_ARCMIN
    assert before.slope_mag_arcmin == pytest.approx(expected, abs=4.0 * before.slope_err_mag_arcmin)
    assert abs(before.slope_mag_arcmin) > 20.0 * before.slope_err_mag_arcmin

    factors, flats = exported(url, tmp_path / "files", datum)
    assert factors["nrcblong"] == pytest.approx(1.0, abs=1e-7)
    assert (np.ptp(flats["nrcblong"]) > 0.0) == (datum == "symmetric")

    def correct(name: str, x: np.ndarray, y: np.ndarray, flux: np.ndarray) -> np.ndarray:
        flat = flats[name][np.rint(y).astype(int), np.rint(x).astype(int)]
        return np.asarray(flux * factors[name] / flat)

    paths = write_epochs(tmp_path / "after", TRUTH, seed=5, pointings=pointings, correct=correct)
    after = fitted(f"sqlite:///{tmp_path / 'after.sqlite'}", paths)
    # The same stars with the same noise: what is left is distortion, which planes leave out.
    assert abs(after.slope_mag_arcmin) < 0.25 * before.slope_err_mag_arcmin
    assert abs(after.offset_ab_mag) < 0.25 * before.offset_ab_err_mag
    # Other stars and noise.
    paths = write_epochs(tmp_path / "other", TRUTH, seed=6, pointings=pointings, correct=correct)
    other = fitted(f"sqlite:///{tmp_path / 'other.sqlite'}", paths)
    spread = np.hypot(before.slope_err_mag_arcmin, other.slope_err_mag_arcmin)
    assert abs(other.slope_mag_arcmin) < 4.0 * spread
    spread = np.hypot(before.offset_ab_err_mag, other.offset_ab_err_mag)
    assert abs(other.offset_ab_mag) < 4.0 * spread


def test_a_gradient_in_both_modules_alike_is_recovered_pixel_by_pixel(tmp_path: Path) -> None:
    """Where both arrays have the same gradient, the symmetric datum is the truth."""
    truth = {"nrcalong": DetectorTruth(0.013, 5e-6), "nrcblong": DetectorTruth(0.0, 5e-6)}
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    row = fitted(url, write_epochs(tmp_path / "stars", truth, seed=7))
    factors, flats = exported(url, tmp_path / "files", "symmetric")
    x = np.arange(2048.0)
    tolerance = 4.0 * row.slope_err_mag_arcmin / abs(row.slope_mag_arcmin)
    for name in ARRAYS:
        found_mag = -2.5 * np.log10(flats[name].mean(axis=0))
        slope = np.polyfit(x - MIDDLE, found_mag, 1)[0]
        assert slope == pytest.approx(5e-6, rel=tolerance)
    # The mean difference between the arrays is photom's.
    found = 2.5 * np.log10(factors["nrcalong"] / factors["nrcblong"])
    assert found == pytest.approx(0.013, abs=4.0 * row.offset_ab_err_mag)
