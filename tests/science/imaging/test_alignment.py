"""What `calreg measure --align` fits, against transformations that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import FitRefusedError
from calreg.science.imaging.alignment import (
    AlignKind,
    Alignment,
    describe_alignment,
    fit_alignment,
    move_planes,
)
from support.distorted import windowed_centroid
from support.skyimages import SKY, planes_of, star_field, with_hole, with_saturation

if TYPE_CHECKING:
    from calreg.units import FloatArray

SCALE_ARCSEC = 0.06
SIZE_PX = 4000.0
N_STARS = 150
SIGMA_PX = 0.03
SHIFT = np.array([0.41, -0.27])
ROTATION_RAD = np.radians(3.0 / 3600.0 * 10.0)
STRETCH = 2e-5


def forward(fit: Alignment, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Take positions from the measured image to the detection image [pixel]."""
    points = np.stack([x, y], axis=-1)
    moved = points + fit.shift + (points - fit.centre) @ fit.linear.T
    return moved[..., 0], moved[..., 1]


def linear_part(rotation: float, stretch: float) -> np.ndarray:
    """Return what a rotation and a change of scale add to a position."""
    turned = (1.0 + stretch) * np.array(
        [[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]]
    )
    return turned - np.eye(2)


def stars(seed: int, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return measured and reference positions; half of the noise on either side."""
    rng = np.random.default_rng(seed)
    measured = rng.uniform(0.0, SIZE_PX, size=(N_STARS, 2))
    middle = measured.mean(axis=0)
    reference = measured + SHIFT + (measured - middle) @ linear.T
    noise = SIGMA_PX / np.sqrt(2.0) * rng.standard_normal((2, N_STARS, 2))
    return measured + noise[0], reference + noise[1]


@pytest.mark.parametrize("kind", list(AlignKind))
def test_known_transformation_comes_back_to_its_error(kind: AlignKind) -> None:
    """Pulls over many seeds are those of a unit normal: neither biased nor noisier than stated."""
    linear = linear_part(ROTATION_RAD, STRETCH) if kind is AlignKind.LINEAR else np.zeros((2, 2))
    n_seeds = 200
    shifts, parts = np.empty((n_seeds, 2)), np.empty((n_seeds, 2, 2))
    for seed in range(n_seeds):
        measured, reference = stars(seed, linear)
        found = fit_alignment(measured, reference, kind=kind, scale_arcsec=SCALE_ARCSEC)
        shifts[seed], parts[seed] = found.shift, found.linear
    shift_err = SIGMA_PX / np.sqrt(N_STARS)
    # Clipping at 3 sigma costs a per cent of the stars; 12 numbers are judged at 4 sigma.
    np.testing.assert_allclose(shifts.mean(axis=0), SHIFT, atol=4 * shift_err / np.sqrt(n_seeds))
    np.testing.assert_allclose(shifts.std(axis=0) / shift_err, 1.0, atol=0.25)
    if kind is AlignKind.SHIFT:
        assert not parts.any()
        return
    part_err = SIGMA_PX / (SIZE_PX / np.sqrt(12.0)) / np.sqrt(N_STARS)
    np.testing.assert_allclose(parts.mean(axis=0), linear, atol=4 * part_err / np.sqrt(n_seeds))
    np.testing.assert_allclose(parts.std(axis=0) / part_err, 1.0, atol=0.25)


def test_residuals_are_in_mas() -> None:
    measured, reference = stars(1, np.zeros((2, 2)))
    found = fit_alignment(measured, reference, kind=AlignKind.SHIFT, scale_arcsec=SCALE_ARCSEC)
    noise_mas = SIGMA_PX * SCALE_ARCSEC * 1000.0
    # The rms of 300 numbers is uncertain by 4 per cent, and clipping takes off a per cent.
    assert found.rms_after_mas == pytest.approx(noise_mas, rel=0.15)
    before_mas = np.sqrt(noise_mas**2 + 0.5 * (SHIFT**2).sum() * 3600.0)
    assert found.rms_before_mas == pytest.approx(before_mas, rel=0.05)


def test_moving_stars_are_clipped() -> None:
    measured, reference = stars(2, np.zeros((2, 2)))
    clean = fit_alignment(measured, reference, kind=AlignKind.SHIFT, scale_arcsec=SCALE_ARCSEC)
    reference[:15] += 2.0
    reference[15, 0] = np.nan
    found = fit_alignment(measured, reference, kind=AlignKind.SHIFT, scale_arcsec=SCALE_ARCSEC)
    assert found.n_given == N_STARS - 1
    assert found.n_used <= N_STARS - 16
    shift_err = SIGMA_PX / np.sqrt(N_STARS)
    np.testing.assert_allclose(found.shift, clean.shift, atol=3 * shift_err)


def test_positions_without_noise_are_all_used() -> None:
    """Rounding alone is no reason to clip."""
    rng = np.random.default_rng(3)
    measured = rng.uniform(0.0, SIZE_PX, size=(40, 2))
    linear = linear_part(ROTATION_RAD, STRETCH)
    reference = measured + SHIFT + (measured - measured.mean(axis=0)) @ linear.T
    found = fit_alignment(measured, reference, kind=AlignKind.LINEAR, scale_arcsec=SCALE_ARCSEC)
    assert found.n_used == 40
    np.testing.assert_allclose(found.linear, linear, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.column_stack(forward(found, *measured.T)), reference, atol=1e-9)
    np.testing.assert_allclose(np.column_stack(found.backward(*reference.T)), measured, atol=1e-9)


@pytest.mark.parametrize(("kind", "n_stars"), [(AlignKind.SHIFT, 4), (AlignKind.LINEAR, 11)])
def test_too_few_stars_are_refused(kind: AlignKind, n_stars: int) -> None:
    measured, reference = (positions[:n_stars] for positions in stars(4, np.zeros((2, 2))))
    with pytest.raises(FitRefusedError, match=f"at least {n_stars + 1} .* found {n_stars}"):
        fit_alignment(measured, reference, kind=kind, scale_arcsec=SCALE_ARCSEC)


def test_stars_on_a_line_give_no_linear_fit() -> None:
    along = np.linspace(0.0, SIZE_PX, 30)
    measured = np.column_stack([along, 0.5 * along])
    with pytest.raises(FitRefusedError, match="one line"):
        fit_alignment(measured, measured, kind=AlignKind.LINEAR, scale_arcsec=SCALE_ARCSEC)


# --- the record -----------------------------------------------------------------------------------


def test_record_says_what_was_done() -> None:
    measured, reference = stars(5, linear_part(ROTATION_RAD, STRETCH))
    found = fit_alignment(measured, reference, kind=AlignKind.LINEAR, scale_arcsec=SCALE_ARCSEC)
    record = found.to_text(SCALE_ARCSEC)
    assert record["align"] == "linear"
    assert record["align_n_sources"] == str(found.n_used)
    parts = ("align_xx", "align_xy", "align_yx", "align_yy")
    np.testing.assert_allclose([float(record[name]) for name in parts], found.linear.ravel())
    text = describe_alignment({"threshold": "1.5", **record})
    dx, dy = found.shift * SCALE_ARCSEC * 1000.0
    assert text.startswith(f"linear: x {dx:+.1f}, y {dy:+.1f} mas from {found.n_used} sources")
    assert text.endswith(f"{found.rms_before_mas:.1f} -> {found.rms_after_mas:.1f} mas")
    assert describe_alignment({"threshold": "1.5"}) == ""
    assert describe_alignment({"align": "none"}) == ""
    # The detection image of a call with --align was not moved.
    assert describe_alignment({"align": "shift"}) == ""


# --- pixels ---------------------------------------------------------------------------------------

STARS = [(40.3, 50.7, 60.0), (120.9, 50.2, 40.0), (60.5, 110.4, 50.0), (150.1, 100.6, 30.0)]


def alignment(linear: np.ndarray) -> Alignment:
    """Return a transformation as if it had been fitted."""
    return Alignment(AlignKind.LINEAR, SHIFT, linear, np.array([100.0, 80.0]), 20, 20, 30.0, 1.0)


@pytest.mark.parametrize("turned", [False, True])
def test_pixels_go_where_the_stars_do(turned: bool) -> None:
    linear = linear_part(2e-3, 1e-4) if turned else np.zeros((2, 2))
    planes = planes_of(star_field(STARS), err=0.01)
    moved = move_planes(planes, alignment(linear))
    for x_true, y_true, flux in STARS:
        x, y = windowed_centroid(planes.sci - SKY, x_true, y_true, 1.8)
        (x_new,), (y_new,) = forward(alignment(linear), np.array([x]), np.array([y]))
        found = windowed_centroid(moved.sci - SKY, x_new, y_new, 1.8)
        # 2 millipixels are 0.1 mas; the spline does not keep noise as it is.
        assert found == pytest.approx((x_new, y_new), abs=0.002)
        rows, columns = (
            slice(round(y_new) - 9, round(y_new) + 10),
            slice(round(x_new) - 9, round(x_new) + 10),
        )
        total = float((moved.sci[rows, columns] - SKY).sum())
        determinant = float(np.linalg.det(np.eye(2) + linear))
        # The noise of 361 pixels is 0.19.
        assert total == pytest.approx(flux * determinant, abs=0.6)


def test_bad_pixels_stay_bad_and_spread_by_a_pixel() -> None:
    planes = with_saturation(
        with_hole(planes_of(star_field(STARS), err=0.01), slice(60, 63), slice(80, 84)),
        slice(100, 102),
        slice(30, 33),
    )
    moved = move_planes(planes, alignment(np.zeros((2, 2))))
    assert moved.is_bad[60:62, 81:84].all()
    assert not moved.is_bad[70:90, 70:100].any()
    assert np.isnan(moved.sci[moved.is_bad]).all()
    assert np.isfinite(moved.sci[~moved.is_bad]).all()
    assert moved.is_saturated is not None
    assert moved.is_saturated[100:101, 31:33].all()
    # What comes from outside of the image is no data.
    assert moved.is_bad[:, 0].all()
    assert moved.is_bad[-1].all()
    # The input is as it was.
    assert int(planes.is_bad.sum()) == 12
