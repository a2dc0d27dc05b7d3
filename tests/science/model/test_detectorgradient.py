"""A gradient along a field becomes detector pixels: geometry against pysiaf, signs, sums, means."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from calreg.errors import InvalidValueError
from calreg.instruments import load_instrument
from calreg.science.model.gradient import (
    GradientDatum,
    PairOffset,
    PixelPlane,
    View,
    decompose,
    dilution,
    folded_axis,
    parse_gradient_datum,
)
from calreg.science.sky.geometry import FieldAxis, along_axis, module_side
from calreg.science.sky.pointing import ReferencePoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf
    from pysiaf.utils import rotations

NIRCAM = load_instrument()
N = 2048
CENTRE = (53.0, -27.8)
MIDDLE_V2_V3 = (-1.3, -492.6)
K = 0.0043
DATUMS = list(GradientDatum)


def pysiaf_view(
    name: str, pa_v3_deg: float, axis: FieldAxis, epoch_id: int, shift_deg: float = 0.0
) -> tuple[View, Any]:
    """Return how an array looks at the field, and pysiaf's aperture that looks the same way."""
    array = NIRCAM.arrays[name]
    attitude = rotations.attitude(*MIDDLE_V2_V3, CENTRE[0] + shift_deg, CENTRE[1], pa_v3_deg)
    aperture = pysiaf.Siaf("NIRCam")[array.aperture]
    aperture.set_attitude_matrix(attitude)
    v2, v3 = array.v2_ref_arcsec, array.v3_ref_arcsec
    ra, dec = rotations.pointing(attitude, v2, v3)
    point = ReferencePoint(ra, dec, rotations.posangle(attitude, v2, v3))
    sign = module_side(pa_v3_deg % 360.0, axis, NIRCAM, array.array_id)
    return View(epoch_id, sign, point), aperture


@pytest.mark.parametrize("pa_v3_deg", [17.0, 251.0])
@pytest.mark.parametrize("name", list(NIRCAM.arrays))
def test_the_folded_axis_is_pysiafs(name: str, pa_v3_deg: float) -> None:
    """w = o d of every pixel, for an axis that is not quite the line from A to B."""
    # V2 has position angle PA_V3 + 90 deg on the sky and A is at +V2; +d points from A to B.
    axis = FieldAxis((pa_v3_deg + 270.0 + 6.0) % 360.0, *CENTRE)
    views = [pysiaf_view(name, pa_v3_deg + turn, axis, i) for i, turn in enumerate((0.0, 180.0))]
    assert [view.roll_sign for view, _ in views] == [1, -1]
    plane = folded_axis(NIRCAM.arrays[name], [view for view, _ in views], axis)
    steps = np.linspace(0.0, N - 1.0, 9)
    x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
    folded = []
    for view, aperture in views:
        ra, dec = aperture.sci_to_sky(x + 1.0, y + 1.0)
        folded.append(view.roll_sign * along_axis(ra, dec, axis))
    expected = np.mean(folded, axis=0)
    # Distortion is left out: 1.3 arcsec at the worst corner, and much less in the middle.
    assert np.abs(plane.at(x, y, N) - expected).max() < 1.3 / 60.0
    middle = float(plane.at(np.array(1023.5), np.array(1023.5), N))
    assert middle == plane.mean
    assert (plane.mean < 0.0) == (NIRCAM.arrays[name].module == "A")


@pytest.mark.parametrize("name", ["nrcalong", "nrcblong"])
def test_w_grows_with_x_in_both_modules(name: str) -> None:
    """Detector x from 1 to 2048 is about -129 arcsec in V2 for both long-wavelength arrays."""
    axis = FieldAxis(270.0, *CENTRE)
    views = [pysiaf_view(name, turn, axis, i)[0] for i, turn in enumerate((0.0, 180.0))]
    plane = folded_axis(NIRCAM.arrays[name], views, axis)
    assert plane.per_x * (N - 1) == pytest.approx(129.0 / 60.0, rel=0.005)
    assert abs(plane.per_y) < 0.01 * plane.per_x


def test_both_rolls_are_needed() -> None:
    axis = FieldAxis(270.0, *CENTRE)
    view, _ = pysiaf_view("nrcalong", 0.0, axis, 1)
    with pytest.raises(InvalidValueError, match="nrcalong: no image with module B towards -d"):
        folded_axis(NIRCAM.arrays["nrcalong"], [view, view], axis)


def test_epochs_count_equally_within_a_roll() -> None:
    """Ten images of one epoch weigh as one of another."""
    axis = FieldAxis(270.0, *CENTRE)
    first, _ = pysiaf_view("nrcalong", 0.0, axis, 1)
    other, _ = pysiaf_view("nrcalong", 0.0, axis, 2, shift_deg=0.01)
    turned, _ = pysiaf_view("nrcalong", 180.0, axis, 3)
    array = NIRCAM.arrays["nrcalong"]
    many = folded_axis(array, [*[first] * 10, other, turned], axis)
    few = folded_axis(array, [first, other, turned], axis)
    assert many.mean == pytest.approx(few.mean, abs=1e-12)
    assert few.mean != pytest.approx(folded_axis(array, [first, turned], axis).mean, abs=1e-4)


# --- how a gradient is shared ---------------------------------------------------------------------

PLANES = {"A": PixelPlane(-1.45, 1.046e-3, 1.1e-5), "B": PixelPlane(1.47, 1.047e-3, -0.4e-5)}
OFFSET = PairOffset(-0.0165, 0.0012, K, 0.0007, 7e-7)


def correction_mag(module: str, datum: GradientDatum, x: Any, y: Any) -> Any:
    """Return what photom and flat together add to magnitudes read at pixels [mag]."""
    own = decompose(OFFSET, PLANES, datum, n_pixels=N)[module]
    flat, _ = own.delta_flat()
    return -2.5 * np.log10(own.photom_factor / flat[y, x])


@pytest.mark.parametrize("datum", DATUMS)
def test_photom_times_inverse_flat_undoes_the_model_at_every_pixel(datum: GradientDatum) -> None:
    """m_A - m_B of a source at w_A = -d in A and w_B = +d in B is Delta_AB + k d."""
    delta_a, delta_b = (
        correction_mag(module, datum, np.arange(N)[None, :], np.arange(N)[:, None])
        for module in "AB"
    )
    rng = np.random.default_rng(1)
    x_a, y_a = rng.integers(0, N, (2, 500))
    y_b = rng.integers(0, N, 500)
    w_a = PLANES["A"].at(x_a.astype(float), y_a.astype(float), N)
    # The pixel of B with w_B = -w_A, to a fraction of a pixel that is added to d below.
    x_b = np.rint(
        1023.5 + (-w_a - PLANES["B"].mean - PLANES["B"].per_y * (y_b - 1023.5)) / 1.047e-3
    ).astype(int)
    is_on_b = (x_b >= 0) & (x_b < N)
    assert is_on_b.sum() > 400
    x_a, y_a, x_b, y_b = (pixels[is_on_b] for pixels in (x_a, y_a, x_b, y_b))
    w_a = w_a[is_on_b]
    w_b = PLANES["B"].at(x_b.astype(float), y_b.astype(float), N)
    share = datum.shares
    read = OFFSET.offset_ab_mag - share["A"] * K * w_a + share["B"] * K * w_b
    after = read + delta_a[y_a, x_a] - delta_b[y_b, x_b]
    np.testing.assert_allclose(after, 0.0, atol=1e-12)


@pytest.mark.parametrize("datum", DATUMS)
def test_the_mean_is_in_photom_and_the_flat_has_mean_one(datum: GradientDatum) -> None:
    corrections = decompose(OFFSET, PLANES, datum, n_pixels=N)
    assert (corrections["B"].photom_factor, corrections["B"].photom_err_mag) == (1.0, 0.0)
    for module, own in corrections.items():
        flat, err = own.delta_flat()
        assert flat.shape == err.shape == (N, N)
        assert float(flat.mean()) == pytest.approx(1.0, abs=1e-14)
        has_gradient = module in "A" if datum is GradientDatum.B else True
        assert (own.gradient is not None) == has_gradient
        assert (float(np.ptp(flat)) > 1e-4) == has_gradient
        # The same relative error as the gradient's; none in the middle, where photom has it.
        some = flat[::97, ::89]
        expected = 0.0007 / K * some * np.abs(np.log(some / flat[1023:1025, 1023:1025].mean()))
        np.testing.assert_allclose(err[::97, ::89], expected, atol=1e-8)
    share = datum.shares
    mean_mag = OFFSET.offset_ab_mag + K * (share["A"] * 1.45 + share["B"] * 1.47)
    factor = 10.0 ** (0.4 * mean_mag)
    # Means of a power and powers of a mean differ at second order, (0.4 ln 10 * 2 mmag)**2.
    assert corrections["A"].photom_factor == pytest.approx(factor, rel=5e-6)


@pytest.mark.parametrize("datum", DATUMS)
def test_the_error_of_photom_is_the_covariances(datum: GradientDatum) -> None:
    """Var(Delta + lever k) by drawing pairs of numbers from the covariance."""
    covariance = [
        [OFFSET.offset_ab_err_mag**2, OFFSET.covariance_mag2_arcmin],
        [OFFSET.covariance_mag2_arcmin, OFFSET.slope_err_mag_arcmin**2],
    ]
    draws = np.random.default_rng(2).multivariate_normal(
        [OFFSET.offset_ab_mag, K], covariance, size=4000
    )
    factors = [
        decompose(PairOffset(offset, 0.0, slope), PLANES, datum, n_pixels=16)["A"].photom_factor
        for offset, slope in draws
    ]
    found = float(np.std(2.5 * np.log10(factors)))
    own = decompose(OFFSET, PLANES, datum, n_pixels=N)["A"]
    # The scatter of a standard deviation of 4000 draws is 1.1 %.
    assert own.photom_err_mag == pytest.approx(found, rel=0.05)


def test_without_a_gradient_only_a_has_a_factor() -> None:
    corrections = decompose(PairOffset(0.013, 0.001), {}, n_pixels=N)
    assert corrections["A"].photom_factor == pytest.approx(1.012045, abs=5e-7)
    assert corrections["A"].photom_err_mag == 0.001
    assert corrections["B"].photom_factor == 1.0
    assert [own.gradient for own in corrections.values()] == [None, None]
    flat, err = corrections["A"].delta_flat()
    assert (flat.min(), flat.max(), err.max()) == (1.0, 1.0, 0.0)


def test_a_positive_offset_brightens_and_its_flat_is_below_one_where_it_is_too_faint() -> None:
    own = decompose(PairOffset(0.0, 0.001, K), PLANES, GradientDatum.B, n_pixels=N)["A"]
    flat, _ = own.delta_flat()
    # k > 0: A reads -k w, the fainter the smaller w, which is at small x.
    assert flat[1000, 0] < 1.0 < flat[1000, -1]
    assert own.photom_factor > 1.0


# --- dithers --------------------------------------------------------------------------------------


def test_dilution_is_the_slope_within_images() -> None:
    rng = np.random.default_rng(3)
    images = []
    for shift in (-1.0, 0.5, 2.0):
        sky = rng.uniform(0.2, 2.4, 200)
        images.append((sky, shift + 0.75 * sky))
    assert dilution(images) == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize("slope", [-0.75, 0.0, 2.0, math.nan])
def test_a_dilution_that_dithers_do_not_give_is_refused(slope: float) -> None:
    sky = np.linspace(0.0, 2.0, 50)
    with pytest.raises(InvalidValueError, match=r"expected 0\.2 to 1\.2"):
        dilution([(sky, slope * sky)])


def test_the_names_of_the_datum() -> None:
    assert parse_gradient_datum(" Symmetric") is GradientDatum.SYMMETRIC
    assert parse_gradient_datum("b") is GradientDatum.B
    with pytest.raises(InvalidValueError, match="'A': expected one of symmetric, B"):
        parse_gradient_datum("A")
