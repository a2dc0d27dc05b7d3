"""Detection for matched photometry: what is found, flagged, merged, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import DegenerateImageError, InvalidValueError
from calreg.flags import DetectionFlag
from calreg.science.photometry import detection
from calreg.science.photometry.detection import DetectedSources, detect_sources, stack_planes
from calreg.science.photometry.image import measure_background
from calreg.science.photometry.settings import DetectionSettings
from support.skyimages import NOISE, SKY, planes_of, star_field, with_hole, with_saturation

if TYPE_CHECKING:
    from calreg.science.photometry.image import ImagePlanes

STARS = [(50.3, 40.2, 20.0), (120.7, 60.1, 8.0), (90.0, 120.4, 40.0)]
SETTINGS = DetectionSettings()


def _flags_at(detected: DetectedSources, x: float, y: float) -> DetectionFlag:
    distance = np.hypot(detected.ellipses.x - x, detected.ellipses.y - y)
    assert distance.min() < 1.5
    return DetectionFlag(int(detected.flags[np.argmin(distance)]))


def test_stars_are_found_where_they_are() -> None:
    detected = detect_sources(planes_of(star_field(STARS)), SETTINGS)
    for x, y, _ in STARS:
        assert np.hypot(detected.ellipses.x - x, detected.ellipses.y - y).min() < 0.1
        assert _flags_at(detected, x, y) == DetectionFlag(0)
    assert detected.segmentation.dtype == np.int32
    assert detected.n_pixels.min() >= SETTINGS.min_area_pixels
    assert detected.segmentation.max() == detected.n_sources
    assert detected.sky.level == pytest.approx(SKY, abs=0.002)
    assert (detected.ellipses.a >= detected.ellipses.b).all()
    assert (detected.kron_radius >= SETTINGS.kron_min_radius).all()


def test_nan_enters_neither_background_nor_sources() -> None:
    planes = planes_of(star_field([*STARS, (180.0, 40.0, 30.0)]))
    cut = with_hole(planes, slice(None), slice(150, None))
    detected = detect_sources(cut, SETTINGS)
    assert detected.ellipses.x.max() < 150.0
    assert not detected.segmentation[:, 150:].any()
    assert detected.sky.rms == pytest.approx(NOISE, rel=0.03)
    assert detected.sky.level == pytest.approx(SKY, abs=0.002)


def test_values_under_bad_pixels_do_not_matter() -> None:
    planes = with_hole(planes_of(star_field(STARS)), slice(None), slice(150, None))
    filled = planes.sci.copy()
    filled[planes.is_bad] = 1e6
    one, other = (
        detect_sources(image, SETTINGS) for image in (planes, replace(planes, sci=filled))
    )
    np.testing.assert_array_equal(one.segmentation, other.segmentation)
    assert one.sky.rms == other.sky.rms


def test_edges_missing_coverage_and_saturation_are_flagged() -> None:
    at_edge, beside_hole, saturated, clean = (0.5, 100.0), (60.0, 60.0), (150.0, 100.0), (100, 100)
    planes = planes_of(
        star_field([(*place, 30.0) for place in (at_edge, beside_hole, saturated, clean)])
    )
    planes = with_hole(planes, slice(50, 70), slice(30, 58))
    planes = with_saturation(planes, slice(100, 101), slice(150, 151))
    detected = detect_sources(planes, SETTINGS)
    assert DetectionFlag.TRUNCATED in _flags_at(detected, *at_edge)
    assert DetectionFlag.APERTURE_INCOMPLETE in _flags_at(detected, *at_edge)
    assert DetectionFlag.TRUNCATED in _flags_at(detected, *beside_hole)
    assert _flags_at(detected, *saturated) == DetectionFlag.SATURATED
    assert _flags_at(detected, *clean) == DetectionFlag(0)


def test_saturated_core_without_data_is_flagged_as_both() -> None:
    planes = planes_of(star_field([(100.0, 80.0, 200.0)]))
    core = slice(79, 82), slice(99, 102)
    detected = detect_sources(with_saturation(with_hole(planes, *core), *core), SETTINGS)
    found = _flags_at(detected, 100.0, 80.0)
    assert {DetectionFlag.SATURATED, DetectionFlag.TRUNCATED} <= set(found)


def test_close_pair_is_blended() -> None:
    detected = detect_sources(planes_of(star_field([(80, 80, 30.0), (87, 80, 30.0)])), SETTINGS)
    for x in (80, 87):
        assert DetectionFlag.BLENDED in _flags_at(detected, x, 80)
    alone = detect_sources(
        planes_of(star_field([(80, 80, 30.0), (87, 80, 30.0)])),
        replace(SETTINGS, deblend_contrast=1.0),
    )
    # Contrast 1 turns deblending off: one source between the two.
    assert DetectionFlag.BLENDED not in _flags_at(alone, 83.5, 80)


def test_spurious_detections_go_to_the_source_whose_wings_they_are() -> None:
    # A faint peak 12 pixels from a star that is 400 times as bright.
    planes = planes_of(star_field([(100, 80, 200.0), (112, 80, 0.5)]))
    every = detect_sources(planes, replace(SETTINGS, clean=0.0))
    cleaned = detect_sources(planes, SETTINGS)
    assert cleaned.n_sources < every.n_sources
    # Their pixels are not lost, and numbers stay without gaps.
    np.testing.assert_array_equal(cleaned.segmentation > 0, every.segmentation > 0)
    assert np.unique(cleaned.segmentation).tolist() == list(range(cleaned.n_sources + 1))
    assert cleaned.n_pixels.sum() == every.n_pixels.sum()


def test_engine_gets_more_memory_when_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = planes_of(star_field(STARS))
    usual = detect_sources(planes, SETTINGS)
    monkeypatch.setattr(detection, "_OPEN_PIXELS", 20)
    np.testing.assert_array_equal(detect_sources(planes, SETTINGS).segmentation, usual.segmentation)
    monkeypatch.setattr(detection, "_MAX_DOUBLINGS", 0)
    with pytest.raises(DegenerateImageError, match="raise the threshold"):
        detect_sources(planes, SETTINGS)


# --- refusals ------------------------------------------------------------------------------------


def test_images_without_anything_to_detect_are_refused() -> None:
    empty = planes_of(star_field([]))
    with pytest.raises(DegenerateImageError, match="no source of at least 5 connected pixels"):
        detect_sources(empty, replace(SETTINGS, threshold_sigma=20.0))
    with pytest.raises(DegenerateImageError, match="none of the 32000 pixels carries data"):
        detect_sources(with_hole(empty, slice(None), slice(None)), SETTINGS)
    with pytest.raises(DegenerateImageError, match="are saturated"):
        detect_sources(with_saturation(empty, slice(None), slice(None)), SETTINGS)


def test_image_without_noise_is_refused() -> None:
    constant = planes_of(np.full((100, 100), 3.0, dtype=np.float32))
    with pytest.raises(DegenerateImageError, match="the background has no noise"):
        measure_background(constant, SETTINGS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold_sigma", 0.0),
        ("threshold_sigma", float("nan")),
        ("min_area_pixels", 0),
        ("deblend_levels", 65),
        ("deblend_contrast", 1.5),
        ("clean", -1.0),
        ("background_box_pixels", 4),
        ("background_filter_boxes", 0),
        ("aperture_radius_arcsec", 0.0),
        ("kron_factor", 0.0),
        ("kron_min_radius", 21.0),
    ],
)
def test_settings_outside_their_meaning_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name.replace('_', ' ')} "):
        replace(SETTINGS, **{name: value})  # type: ignore[arg-type]


def test_settings_as_text_are_all_of_them() -> None:
    text = DetectionSettings(threshold_sigma=2.25).to_text()
    assert text["threshold_sigma"] == "2.25"
    assert text["min_area_pixels"] == "5"
    assert text["deblend_contrast"] == "0.005"
    assert len(text) == 10
    assert text != DetectionSettings().to_text()


# --- stacks --------------------------------------------------------------------------------------


def _stack(*images: ImagePlanes) -> ImagePlanes:
    return stack_planes(iter(images), SETTINGS)


def test_stack_is_the_weighted_mean_without_background() -> None:
    pixels = star_field(STARS, seed=1)
    other = star_field(STARS, seed=2) + np.float32(5.0)
    stack = _stack(planes_of(pixels, err=0.01), planes_of(other, err=0.02))
    one = measure_background(planes_of(pixels), SETTINGS)
    two = measure_background(planes_of(other), SETTINGS)
    no_bad = np.zeros(pixels.shape, dtype=np.bool_)
    expected = 0.8 * one.subtracted(planes_of(pixels), no_bad)
    expected += 0.2 * two.subtracted(planes_of(other), no_bad)
    # Float32 sums of numbers up to 3.
    np.testing.assert_allclose(stack.sci, expected, atol=2e-6)
    assert stack.err is not None
    np.testing.assert_allclose(stack.err, 1.0 / np.sqrt(1e4 + 2.5e3), rtol=1e-6)


def test_stack_of_equal_images_is_deeper() -> None:
    stack = _stack(*(planes_of(star_field(STARS, seed=seed)) for seed in range(1, 5)))
    # Four images, half the noise, to 2 % with 32000 pixels.
    assert measure_background(stack, SETTINGS).rms == pytest.approx(NOISE / 2.0, rel=0.03)


def test_stack_takes_what_each_image_has() -> None:
    left = with_hole(planes_of(star_field(STARS), err=0.01), slice(None), slice(100, None))
    right = with_hole(planes_of(star_field(STARS), err=0.01), slice(None), slice(0, 60))
    right = with_saturation(right, slice(60, 61), slice(120, 121))
    right = with_hole(right, slice(0, 5), slice(150, 160))
    stack = _stack(left, right)
    assert stack.is_bad.sum() == 50
    assert stack.is_bad[:5, 150:160].all()
    assert np.isnan(stack.sci[stack.is_bad]).all()
    assert stack.is_saturated is not None
    assert np.argwhere(stack.is_saturated).tolist() == [[60, 120]]
    assert stack.err is not None
    np.testing.assert_allclose(stack.err[:, 60:100], 0.01 / np.sqrt(2.0), rtol=1e-6)
    np.testing.assert_allclose(stack.err[:, 170:], 0.01, rtol=1e-6)


def test_stack_refuses_nothing_and_other_shapes() -> None:
    with pytest.raises(InvalidValueError, match="no image to stack"):
        _stack()
    with pytest.raises(InvalidValueError, match=r"\(160, 201\), the first \(160, 200\)"):
        _stack(planes_of(star_field([])), planes_of(star_field([], shape=(160, 201))))
