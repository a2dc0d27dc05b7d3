"""Our reference files beside the published recipe, on the same exposures.

The recipe (github.com/Jerry-Ma/idf_nircam_cal_recipe): SCI x 10**(dmag / 2.5) in module A; in the
long-wavelength bands of the second epoch also SCI x 10**(-|k| x scale / 2.5) along detector x from
x = 0, in both modules. It leaves ERR and variances as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from support.crdsfiles import NIRCAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Exported = Any

LW_SCALE_ARCMIN = 0.063 / 60.0


def finished(rate: Any, photom: Path, flat: Path | None = None) -> Any:
    """Run the two steps with files."""
    from jwst.flatfield import FlatFieldStep
    from jwst.photom import PhotomStep

    if flat is not None:
        others = {f"override_{kind}": "N/A" for kind in ("fflat", "sflat", "dflat")}
        rate = FlatFieldStep.call(rate, override_flat=str(flat), **others)
    return PhotomStep.call(rate, override_photom=str(photom), override_area="N/A")


def recipe(sci: np.ndarray, array: str, row: Any, epoch: int) -> np.ndarray:
    """Return what the published script makes of pixels."""
    is_a = NIRCAM.arrays[array].module == "A"
    done = sci.astype(np.float64) * (10.0 ** (row.offset_ab_mag / 2.5) if is_a else 1.0)
    if epoch == 2 and NIRCAM.arrays[array].channel == "LW":
        x = np.arange(sci.shape[1])
        done = done * 10.0 ** (-abs(row.slope_mag_arcmin) * x * LW_SCALE_ARCMIN / 2.5)
    return done


@pytest.mark.parametrize("array", ["nrca1", "nrca2", "nrca3", "nrca4", "nrcb1", "nrcb4"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_short_wavelengths_agree(
    array: str, epoch: int, exported: Exported, make_rate: Callable[..., Any]
) -> None:
    rate = make_rate(array, "F200W", seed=epoch)
    plain = finished(rate.copy(), exported.parents[array])
    ours = finished(rate, exported.photom.get(array, exported.parents[array]))
    row = exported.rows[array[-1], "F200W"]
    expected = recipe(plain.data, array, row, epoch)
    np.testing.assert_allclose(ours.data, expected, rtol=1e-6)
    # What the recipe leaves: errors, variances and PHOTMJSR go with SCI here.
    factor = 10.0 ** (0.4 * row.offset_ab_mag) if NIRCAM.arrays[array].module == "A" else 1.0
    np.testing.assert_allclose(ours.err, factor * plain.err, rtol=1e-6)
    np.testing.assert_allclose(ours.var_rnoise, factor**2 * plain.var_rnoise, rtol=2e-6)
    assert ours.meta.photometry.conversion_megajanskys == pytest.approx(
        factor * plain.meta.photometry.conversion_megajanskys, rel=1e-6
    )
    assert ours.data.dtype == np.float32


@pytest.mark.parametrize("array", ["nrcalong", "nrcblong"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_long_wavelengths_differ_by_where_the_gradient_is(
    array: str, epoch: int, exported: Exported, make_rate: Callable[..., Any]
) -> None:
    """Ours: half the gradient in every epoch, about the middle of the array, its mean in photom."""
    rate = make_rate(array, "F444W", shape=(2048, 2048), seed=epoch)
    plain = finished(rate.copy(), exported.parents[array], exported.flat_parents[array])
    photom = exported.photom.get(array, exported.parents[array])
    ours = finished(rate, photom, exported.flat[array])
    row = exported.rows["long", "F444W"]
    is_good = np.isfinite(plain.data)
    ratio = ours.data / recipe(plain.data, array, row, epoch)
    difference_mag = 2.5 * np.log10(ratio)
    y, x = np.nonzero(is_good)
    steps = np.stack([np.ones(x.size), (x - 1023.5) / 1024.0, (y - 1023.5) / 1024.0], axis=1)
    fit, *_ = np.linalg.lstsq(steps, difference_mag[is_good].astype(np.float64), rcond=None)
    # Both are planes in magnitudes; what is left is single precision.
    assert np.abs(difference_mag[is_good] - steps @ fit).max() < 1e-6
    k = row.slope_mag_arcmin
    half_array_mag = k * LW_SCALE_ARCMIN * 1024.0
    theirs_mag = half_array_mag if epoch == 2 else 0.0
    # Along x: -k/2 (ours) and -k in the second epoch (theirs); 1 % for the nominal scale.
    assert fit[1] == pytest.approx(-0.5 * half_array_mag + theirs_mag, abs=0.015 * half_array_mag)
    # Along y: the field's axis and the rows of the array are some degrees apart at the most.
    assert abs(fit[2]) < 0.1 * half_array_mag
    # In the middle: the mean of ours in photom of A, and theirs from x = 0 on.
    mean_mag = 1.46 * k if array == "nrcalong" else 0.0
    assert fit[0] == pytest.approx(mean_mag + theirs_mag, abs=0.015 * half_array_mag + 3e-5)
