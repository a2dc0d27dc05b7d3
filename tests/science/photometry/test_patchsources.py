"""Sources of one image from several detection images: each once, and the whole one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.flags import DetectionFlag
from calreg.science.photometry.compactness import expected_fwhm_arcsec
from calreg.science.photometry.detection import detect_sources
from calreg.science.photometry.measure import measure_sources
from calreg.science.photometry.patchsources import PatchSources, common_stars, merge_patches
from calreg.science.photometry.settings import DetectionSettings
from calreg.science.sky.grids import Grid
from support.skyimages import SCALE_ARCSEC, planes_of, star_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

NX, NY = 200, 160
GRID = Grid(265.0, 69.0, SCALE_ARCSEC, 30.0, NX / 2.0, NY / 2.0, NX, NY)
STARS = [
    (30.3, 40.2, 20.0),
    (60.7, 110.1, 8.0),
    (95.0, 60.4, 40.0),
    (105.4, 120.2, 15.0),
    (150.6, 90.3, 25.0),
    (170.1, 30.2, 12.0),
]


def measure_cut(
    x0: int, x1: int, *, seed: int = 2, measured: NDArray[np.float32] | None = None
) -> PatchSources:
    """Detect on columns of one image, with noise of its own, and measure another."""
    image = star_field(STARS, shape=(NY, NX), seed=1) if measured is None else measured
    settings = DetectionSettings(background_box_pixels=32)
    detected = detect_sources(
        planes_of(np.ascontiguousarray(star_field(STARS, shape=(NY, NX), seed=seed)[:, x0:x1])),
        settings,
    )
    planes = planes_of(np.ascontiguousarray(image[:, x0:x1]), err=0.01)
    found = measure_sources(detected, planes, settings, scale_arcsec=SCALE_ARCSEC)
    return PatchSources.of(detected, found, GRID.cutout(x0, 0, x1 - x0, NY))


def places(sources: PatchSources) -> list[tuple[int, int]]:
    """Return isophotal centroids in whole pixels of the field, sorted."""
    x, y = GRID.pixels_of(sources.ra_iso_deg, sources.dec_iso_deg)
    return sorted((round(float(a)), round(float(b))) for a, b in zip(x, y, strict=True))


EXPECTED = sorted((round(x), round(y)) for x, y, _ in STARS)


def test_one_image_stays_as_it_is() -> None:
    part = measure_cut(0, NX)
    merged = merge_patches([part], SCALE_ARCSEC)
    assert places(merged) == EXPECTED
    for column in fields(part):
        np.testing.assert_array_equal(getattr(merged, column.name), getattr(part, column.name))


def test_sources_of_an_overlap_come_once() -> None:
    left, right = measure_cut(0, 130), measure_cut(80, NX, seed=3)
    assert left.n_sources + right.n_sources == len(STARS) + 2
    for parts in ([left, right], [right, left]):
        merged = merge_patches(parts, SCALE_ARCSEC)
        assert places(merged) == EXPECTED
    # Of two that agree, the first one's numbers stay.
    first = merge_patches([left, right], SCALE_ARCSEC)
    row = int(np.argmin(np.abs(first.flux_iso - left.flux_iso.max())))
    assert first.flux_iso[row] == left.flux_iso.max()


def test_the_whole_source_is_taken_and_what_an_edge_cut_off_is_not() -> None:
    # The edge goes through the star at x = 95, off its centre and through it.
    for edge in (94, 96, 98):
        left, right = measure_cut(0, edge), measure_cut(60, NX, seed=3)
        is_cut = (left.flags & int(DetectionFlag.TRUNCATED)) != 0
        assert is_cut.sum() == 1
        for parts in ([left, right], [right, left]):
            merged = merge_patches(parts, SCALE_ARCSEC)
            assert places(merged) == EXPECTED
            assert not ((merged.flags & int(DetectionFlag.TRUNCATED)) != 0).any()


def test_sources_without_data_are_left_out() -> None:
    image = star_field(STARS, shape=(NY, NX), seed=1)
    image[:, :80] = np.nan
    part = measure_cut(0, NX, measured=image)
    merged = merge_patches([part], SCALE_ARCSEC)
    assert places(merged) == [place for place in EXPECTED if place[0] > 80]
    nothing = merge_patches([part.select(np.isnan(part.snr)), merged], SCALE_ARCSEC)
    assert places(nothing) == places(merged)
    none = merge_patches([part.select(np.isnan(part.snr))], SCALE_ARCSEC)
    assert none.n_sources == 0


def test_scaling_touches_fluxes_and_errors_alone() -> None:
    part = measure_cut(0, NX)
    scaled = part.scaled(2.0, 1.5)
    for column in fields(part):
        before, after = (getattr(sources, column.name) for sources in (part, scaled))
        factor = 1.0
        if column.name.startswith("flux"):
            factor = 3.0 if "err" in column.name else 2.0
        elif column.name == "snr":
            factor = 1.0 / 1.5
        np.testing.assert_allclose(after, before * factor, rtol=1e-14, err_msg=column.name)


def test_common_stars_are_clean_on_both_images() -> None:
    detection = measure_cut(0, NX)
    shifted = [(x + 0.5, y - 0.25, flux) for x, y, flux in STARS]
    later = measure_cut(0, NX, measured=star_field(shifted, shape=(NY, NX), seed=5))
    measured, reference = common_stars(detection, later, SCALE_ARCSEC)
    assert len(measured) == len(STARS)
    # Noise of a centroid: 1.8 pixels over a S/N of 70 for the faintest.
    np.testing.assert_allclose((measured - reference).mean(axis=0), (0.5, -0.25), atol=0.03)
    flags = later.flags.copy()
    flags[0] |= int(DetectionFlag.SATURATED)
    measured, _ = common_stars(detection, replace(later, flags=flags), SCALE_ARCSEC)
    assert len(measured) == len(STARS) - 1
    faint = replace(later, snr=np.full(later.n_sources, 19.0))
    assert len(common_stars(detection, faint, SCALE_ARCSEC)[0]) == 0


@pytest.mark.parametrize(
    ("band", "fwhm_arcsec"),
    # JWST User Documentation, NIRCam point-spread functions, measured.
    [("F150W", 0.050), ("F200W", 0.066), ("F356W", 0.116), ("F444W", 0.145), ("F470N", 0.160)],
)
def test_expected_width_is_near_the_measured_one(band: str, fwhm_arcsec: float) -> None:
    expected = expected_fwhm_arcsec(band)
    assert expected == pytest.approx(fwhm_arcsec, rel=0.1)


def test_no_width_without_a_wavelength() -> None:
    assert expected_fwhm_arcsec("CLEAR") is None
