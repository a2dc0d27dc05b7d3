from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.flags import DO_NOT_USE, SATURATED
from calreg.science.imaging.drizzling import (
    DrizzledMosaic,
    DrizzleMember,
    drizzle_group,
    outline,
    pixel_map,
)
from calreg.science.sky.footprints import FootprintSet, pairs_overlap
from calreg.science.sky.geometry import sep_arcsec
from calreg.science.sky.grids import Grid
from support.distorted import (
    SIGMA_PER_FWHM,
    DistortedSky,
    add_star,
    distorted_sky,
    windowed_centroid,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RA_DEG, DEC_DEG = 265.03, 68.98
SCALE_ARCSEC = 0.06
FWHM_ARCSEC = 0.145  # F444W
NOISE = 0.01


def member(
    sky: DistortedSky,
    sci: np.ndarray,
    *,
    err: float | np.ndarray = NOISE,
    dq: np.ndarray | None = None,
    var_rnoise: float | None = None,
    rescale: float = 1.0,
    mask: np.ndarray | None = None,
) -> DrizzleMember:
    """Return an exposure with plain noise planes."""
    return DrizzleMember(
        sci=sci.astype(np.float32),
        err=np.broadcast_to(np.float32(err), sci.shape).copy(),
        dq=np.zeros(sci.shape, dtype=np.uint32) if dq is None else dq,
        sky=sky,
        var_rnoise=None if var_rnoise is None else np.full(sci.shape, var_rnoise, np.float32),
        rescale=rescale,
        mask=mask,
    )


def small(y_pa_deg: float = 20.0, n_pixels: int = 96, shift_arcsec: float = 0.0) -> DistortedSky:
    """Return a small detector."""
    return distorted_sky(RA_DEG, DEC_DEG + shift_arcsec / 3600.0, y_pa_deg, n_pixels)


def grid_of(*skies: DistortedSky, n_pixels: int = 96, y_pa_deg: float = 20.0) -> Grid:
    footprints = [sky.footprint(n_pixels) for sky in skies]
    return Grid.covering(footprints, SCALE_ARCSEC, y_pa_deg, 4)


def inner(mosaic: DrizzledMosaic, margin: int = 30) -> tuple[slice, slice]:
    """Return the middle of a mosaic."""
    ny, nx = mosaic.grid.shape
    return slice(margin, ny - margin), slice(margin, nx - margin)


# --- geometry -----------------------------------------------------------------------------------


def test_pixel_map_is_exact() -> None:
    sky = distorted_sky(RA_DEG, DEC_DEG, 33.0)
    grid = Grid.covering([sky.footprint(2048)], SCALE_ARCSEC, 33.0, 0)
    mapped = pixel_map(sky, (2048, 2048), grid)
    y, x = np.mgrid[0:2048:37, 0:2048:41].astype(float)
    expected = grid.pixels_of(*sky.sky_of(x, y))
    # 1e-3 would be 0.06 mas already
    np.testing.assert_allclose(np.moveaxis(mapped[::37, ::41], 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (33, 34), (100, 63)])
def test_pixel_map_of_small_images(shape: tuple[int, int]) -> None:
    sky = distorted_sky(RA_DEG, DEC_DEG, 33.0)
    grid = Grid.covering([sky.footprint(2048)], SCALE_ARCSEC, 33.0, 0)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    expected = np.stack(grid.pixels_of(*sky.sky_of(x, y)), axis=-1)
    np.testing.assert_allclose(pixel_map(sky, shape, grid), expected, atol=1e-6)


class Nowhere:
    def sky_of(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full_like(x, np.nan), y


def test_outline_holds_all_pixels() -> None:
    sky = distorted_sky(RA_DEG, DEC_DEG, 33.0)
    grid = Grid.covering([sky.footprint(2048)], SCALE_ARCSEC, 33.0, 0)
    x, y = grid.pixels_of(*outline(sky, (2048, 2048)).T)
    edge = np.arange(-0.5, 2048.0)
    low, high = np.full(edge.size, -0.5), np.full(edge.size, 2047.5)
    for side in ((edge, low), (edge, high), (low, edge), (high, edge)):
        x_side, y_side = grid.pixels_of(*sky.sky_of(*side))
        # Between points 32 pixels apart, an edge bulges by less than a hundredth of a pixel.
        assert x.min() - 0.01 < x_side.min() < x_side.max() < x.max() + 0.01
        assert y.min() - 0.01 < y_side.min() < y_side.max() < y.max() + 0.01
    with pytest.raises(InvalidValueError, match="no finite sky position"):
        outline(Nowhere(), (10, 10))


def test_pixel_map_without_positions() -> None:
    with pytest.raises(InvalidValueError, match="no finite sky position"):
        pixel_map(Nowhere(), (10, 10), grid_of(small()))


# --- what is conserved --------------------------------------------------------------------------


def dithered(n_pixels: int = 2048) -> list[DistortedSky]:
    """Return pointings of two opposite rolls with dithers of fractions of pixels."""
    rng = np.random.default_rng(7)
    skies = []
    for roll_deg in (40.0, 220.0):
        for _ in range(2):
            east, north = rng.uniform(-2.0, 2.0, 2) / 3600.0
            ra = RA_DEG + east / np.cos(np.radians(DEC_DEG))
            skies.append(distorted_sky(ra, DEC_DEG + north, roll_deg, n_pixels))
    return skies


@pytest.mark.slow
def test_surface_brightness_flux_and_positions_over_a_whole_detector() -> None:
    skies = dithered()
    grid = Grid.covering([sky.footprint(2048) for sky in skies], SCALE_ARCSEC, 40.0, 20)
    # stars up to the corners, where the area of pixels is off by 2 per cent
    x, y = np.meshgrid(np.linspace(100.3, 1948.7, 6), np.linspace(99.6, 1950.2, 6))
    ra, dec = skies[0].sky_of(x.ravel(), y.ravel())
    flux = 2.0
    level = 0.25

    def exposures(*, stars: bool) -> Iterator[DrizzleMember]:
        for sky in skies:
            sci = np.zeros((2048, 2048)) if stars else np.full((2048, 2048), level)
            for star in zip(ra, dec, strict=True) if stars else ():
                add_star(sci, sky, *star, flux, fwhm_arcsec=FWHM_ARCSEC)
            yield member(sky, sci)

    flat = drizzle_group(exposures(stars=False), grid)
    covered = flat.wht > 0.0
    assert np.abs(flat.sci[covered] / level - 1.0).max() < 1e-5

    mosaic = drizzle_group(exposures(stars=True), grid)
    x_true, y_true = grid.pixels_of(ra, dec)
    area_arcsec2 = SCALE_ARCSEC**2
    sigma_px = FWHM_ARCSEC * SIGMA_PER_FWHM / SCALE_ARCSEC
    for i, (x0, y0) in enumerate(zip(x_true, y_true, strict=True)):
        rows = slice(round(y0) - 18, round(y0) + 19)
        columns = slice(round(x0) - 18, round(x0) + 19)
        total = float(mosaic.sci[rows, columns].sum(dtype=float)) * area_arcsec2
        assert total == pytest.approx(flux, rel=1e-3)
        found = windowed_centroid(mosaic.sci, x0 + 0.3, y0 - 0.2, 1.5 * sigma_px)
        offset_mas = 1000.0 * float(sep_arcsec(*grid.sky_of(*found), ra[i], dec[i]))
        assert offset_mas < 2.0


def test_flux_is_that_of_the_true_solid_angle() -> None:
    # at the corner of a detector, pixels are larger than in the middle
    sky = distorted_sky(RA_DEG, DEC_DEG, 20.0, 128, centre=1000.0)
    grid = Grid.covering([sky.footprint(128)], SCALE_ARCSEC, 20.0, 4)
    sci = np.zeros((128, 128))
    ra, dec = (float(value) for value in sky.wcs.all_pix2world(60.2, 66.7, 0))
    add_star(sci, sky, ra, dec, 1.0)
    mosaic = drizzle_group([member(sky, sci)], grid)
    total = float(np.nansum(mosaic.sci, dtype=float)) * SCALE_ARCSEC**2
    assert total == pytest.approx(1.0, rel=1e-4)
    naive = float(sci.sum()) * 0.063**2 * 1.004
    assert abs(naive - 1.0) > 5e-3  # so the test would see it if the distortion were neglected


@pytest.mark.parametrize(("kernel", "pixfrac"), [("square", 0.7), ("turbo", 1.0), ("point", 1.0)])
def test_other_kernels_keep_surface_brightness(kernel: str, pixfrac: float) -> None:
    skies = [small(shift_arcsec=shift) for shift in (0.0, 0.021, 0.047)]
    members = [member(sky, np.full((96, 96), 3.0)) for sky in skies]
    mosaic = drizzle_group(members, grid_of(*skies), kernel=kernel, pixfrac=pixfrac)
    assert (mosaic.kernel, mosaic.pixfrac) == (kernel, pixfrac)
    assert np.nanmax(np.abs(mosaic.sci - 3.0)) < 1e-5


# --- noise --------------------------------------------------------------------------------------


def test_errors_weights_and_correlation_of_noise() -> None:
    n = 512
    sky = small(n_pixels=n)
    grid = grid_of(sky, n_pixels=n)
    rng = np.random.default_rng(11)
    noise = NOISE * rng.standard_normal((n, n))
    mosaic = drizzle_group([member(sky, noise)], grid)
    sci = mosaic.sci[inner(mosaic)]
    # 200 000 pixels, each correlated with its neighbours: 1 per cent
    assert sci.std() == pytest.approx(np.sqrt((mosaic.err[inner(mosaic)] ** 2).mean()), rel=0.01)
    # Fruchter & Hook 2002: r / (1 - 1 / (3 r)), r the side of an input pixel in output pixels
    r = 0.063 * np.sqrt(1.004) / SCALE_ARCSEC
    assert mosaic.noise_correlation == pytest.approx(r / (1.0 - 1.0 / (3.0 * r)), rel=0.01)
    # means of blocks; a pixel's width at their edges is smoothed away, 3 per cent
    side = 48
    part = sci[: sci.shape[0] // side * side, : sci.shape[1] // side * side]
    means = part.reshape(part.shape[0] // side, side, -1, side).mean(axis=(1, 3))
    by_weight = 1.0 / np.sqrt(side**2 * np.median(mosaic.wht[inner(mosaic)]))
    # 81 blocks: 8 per cent
    assert means.std() == pytest.approx(by_weight, rel=0.2)


def test_weights_are_those_of_the_sky() -> None:
    skies = [small(), small(shift_arcsec=0.3)]
    grid = grid_of(*skies)
    members = [
        member(skies[0], np.full((96, 96), 1.0), err=0.1),
        member(skies[1], np.full((96, 96), 2.0), err=0.2),
    ]
    mosaic = drizzle_group(members, grid)
    # (1 / 0.1^2 + 2 / 0.2^2) / (1 / 0.1^2 + 1 / 0.2^2)
    # pixels of the two differ in area, by distortion, by 1e-5
    assert mosaic.sci[inner(mosaic)] == pytest.approx(1.2, abs=1e-4)
    one = drizzle_group(members[:1], grid)
    ratio = np.median(mosaic.wht[inner(mosaic)]) / np.median(one.wht[inner(mosaic)])
    assert ratio == pytest.approx(1.25, rel=1e-3)


def test_poisson_noise_of_a_source_does_not_change_its_weight() -> None:
    sky = small()
    grid = grid_of(sky, small(shift_arcsec=0.05))
    err = np.full((96, 96), NOISE)
    err[30:40, 30:40] = 10.0 * NOISE
    plain = drizzle_group([member(sky, np.ones((96, 96)))], grid)
    for var_rnoise in (None, 0.2 * NOISE**2):
        mosaic = drizzle_group(
            [member(sky, np.ones((96, 96)), err=err, var_rnoise=var_rnoise)], grid
        )
        np.testing.assert_allclose(mosaic.wht, plain.wht, rtol=1e-5)
        assert np.nanmax(mosaic.err) > 5.0 * np.nanmedian(mosaic.err)
        assert mosaic.noise_correlation == pytest.approx(plain.noise_correlation, rel=0.02)


def test_read_noise_weighs_pixels() -> None:
    skies = [small(), small()]
    noisy = np.full((96, 96), 0.5 * NOISE**2, dtype=np.float32)
    noisy[:, 48:] = 4.0 * NOISE**2
    planes = [np.full((96, 96), value) for value in (1.0, 3.0)]
    first = member(skies[0], planes[0], var_rnoise=0.5 * NOISE**2)
    second = member(skies[1], planes[1], err=np.sqrt(noisy + 0.5 * NOISE**2))
    second = DrizzleMember(second.sci, second.err, second.dq, second.sky, var_rnoise=noisy)
    mosaic = drizzle_group([first, second], grid_of(*skies))
    mapped = pixel_map(skies[0], (96, 96), mosaic.grid)
    left, right = (
        mosaic.sci[round(float(y)), round(float(x))] for x, y in (mapped[50, 20], mapped[50, 80])
    )
    assert left == pytest.approx(2.0, abs=1e-5)
    # weights 1 and 1 / 4.5
    assert right == pytest.approx((1.0 + 3.0 / 4.5) / (1.0 + 1.0 / 4.5), abs=1e-5)


def test_rescaling_scales_signal_and_error() -> None:
    sky = small()
    plain = drizzle_group([member(sky, np.ones((96, 96)))], grid_of(sky))
    mosaic = drizzle_group([member(sky, np.ones((96, 96)), rescale=1.1)], grid_of(sky))
    np.testing.assert_allclose(mosaic.sci, 1.1 * plain.sci, rtol=1e-6)
    np.testing.assert_allclose(mosaic.err, 1.1 * plain.err, rtol=1e-5)
    np.testing.assert_allclose(mosaic.wht, plain.wht / 1.21, rtol=1e-5)


# --- data quality -------------------------------------------------------------------------------


def test_bad_pixels_do_not_contribute() -> None:
    skies = [small(), small(shift_arcsec=0.03)]
    rng = np.random.default_rng(3)
    members = []
    for sky in skies:
        sci = np.ones((96, 96))
        err = np.full((96, 96), NOISE)
        dq = np.zeros((96, 96), dtype=np.uint32)
        for plane, value in ((sci, np.nan), (sci, np.inf), (err, np.nan), (err, 0.0)):
            plane[tuple(rng.integers(0, 96, (2, 40)))] = value
        bad = tuple(rng.integers(0, 96, (2, 40)))
        sci[bad], dq[bad] = 1e9, DO_NOT_USE | 2048
        dq[tuple(rng.integers(0, 96, (2, 40)))] |= 4  # a cosmic ray that the ramp got over
        members.append(member(sky, sci, err=err, dq=dq))
    mosaic = drizzle_group(members, grid_of(*skies))
    assert np.nanmax(np.abs(mosaic.sci - 1.0)) < 1e-5
    no_data = mosaic.wht == 0.0
    assert (np.isnan(mosaic.sci) == no_data).all()
    assert (np.isnan(mosaic.err) == no_data).all()
    assert ((mosaic.dq & DO_NOT_USE > 0) == no_data).all()
    assert ((mosaic.con == 0).all(axis=0) == no_data).all()


def test_saturated_pixels_are_left_out_and_marked() -> None:
    skies = [small(), small(shift_arcsec=0.03)]
    dq = np.zeros((96, 96), dtype=np.uint32)
    dq[40:43, 50:53] = SATURATED
    sci = np.ones((96, 96))
    sci[40:43, 50:53] = 1e4
    mosaic = drizzle_group(
        [member(skies[0], sci, dq=dq), member(skies[1], np.ones((96, 96)))], grid_of(*skies)
    )
    assert np.nanmax(np.abs(mosaic.sci - 1.0)) < 1e-5
    mapped = pixel_map(skies[0], (96, 96), mosaic.grid)
    marked = mosaic.dq & SATURATED > 0
    for y, x in np.argwhere(dq > 0):
        # the pixel and its corners
        for dx in (-0.49, 0.0, 0.49):
            for dy in (-0.49, 0.0, 0.49):
                place = mapped[y, x] + [dx, dy]
                assert marked[round(float(place[1])), round(float(place[0]))]
    # nine input pixels are 10 output pixels; all that touch them are fewer than 7 by 7
    assert 16 <= np.count_nonzero(marked) <= 49
    assert not (mosaic.dq[marked] & DO_NOT_USE).any()  # the other exposure has data there


def test_context_has_a_bit_per_member() -> None:
    n_members = 35
    skies = [small(n_pixels=24, shift_arcsec=0.2 * k) for k in range(n_members)]
    grid = grid_of(*skies, n_pixels=24)
    mosaic = drizzle_group((member(sky, np.ones((24, 24))) for sky in skies), grid)
    assert mosaic.con.shape == (2, *grid.shape)
    assert mosaic.con.dtype == np.int32
    for k, sky in enumerate(skies):
        alone = drizzle_group([member(sky, np.ones((24, 24)))], grid)
        has_bit = (mosaic.con[k // 32].view(np.uint32) >> np.uint32(k % 32)) & 1 > 0
        assert (has_bit == (alone.wht > 0.0)).all()


# --- frames -------------------------------------------------------------------------------------


def test_part_of_the_grid_gives_the_same_pixels() -> None:
    sky = small()
    grid = grid_of(sky)
    rng = np.random.default_rng(1)
    exposure = member(sky, rng.standard_normal((96, 96)))
    whole = drizzle_group([exposure], grid)
    part = drizzle_group([exposure], grid.cutout(20, 30, 40, 25))
    window = (slice(30, 55), slice(20, 60))
    np.testing.assert_allclose(part.sci, whole.sci[window], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(part.wht, whole.wht[window], rtol=1e-4)


def test_member_beside_the_grid_adds_nothing() -> None:
    sky, far = small(), small(shift_arcsec=60.0)
    grid = grid_of(sky)
    alone = drizzle_group([member(sky, np.ones((96, 96)))], grid)
    both = drizzle_group([member(far, np.ones((96, 96))), member(sky, np.ones((96, 96)))], grid)
    np.testing.assert_array_equal(both.sci, alone.sci)
    assert both.n_members == 2
    assert (both.con[0][both.wht > 0.0] == 2).all()
    with pytest.raises(InvalidValueError, match="none of 1 exposures has a usable pixel on the"):
        drizzle_group([member(far, np.ones((96, 96)))], grid)


def test_footprint_is_the_coverage() -> None:
    sky = small()
    mosaic = drizzle_group(
        [member(sky, np.ones((96, 96)))], grid_of(sky).cutout(-40, -40, 300, 300)
    )
    footprint = mosaic.footprint()
    assert 4 <= len(footprint) <= 8
    x, y = mosaic.grid.pixels_of(*footprint.T)
    x_true, y_true = mosaic.grid.pixels_of(*sky.footprint(96).T)
    # whole pixels are covered by parts of one
    np.testing.assert_allclose([x.min(), x.max()], [x_true.min(), x_true.max()], atol=1.5)
    np.testing.assert_allclose([y.min(), y.max()], [y_true.min(), y_true.max()], atol=1.5)
    area = 0.5 * abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))
    # no corner is cut off by more than a pixel
    assert area == pytest.approx(np.count_nonzero(mosaic.wht > 0.0), rel=0.03)
    sets = FootprintSet.of([footprint, sky.footprint(96)])
    assert pairs_overlap(sets, sets, np.array([[0, 1]])).all()


def test_footprint_of_a_turned_detector() -> None:
    sky = small(y_pa_deg=63.0)
    mosaic = drizzle_group([member(sky, np.ones((96, 96)))], grid_of(sky))
    assert 4 <= len(mosaic.footprint()) <= 12


def test_one_member_in_memory_at_a_time() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    sky = small(n_pixels=32)

    def exposures() -> Iterator[DrizzleMember]:
        for _ in range(3):
            gc.collect()
            assert not [ref for ref in alive if ref() is not None]
            one = member(sky, np.ones((32, 32)))
            alive.append(weakref.ref(one.sci))
            yield one
            del one

    assert drizzle_group(exposures(), grid_of(sky, n_pixels=32)).n_members == 3


# --- refusals -----------------------------------------------------------------------------------


def test_refusals() -> None:
    sky = small(n_pixels=32)
    grid = grid_of(sky, n_pixels=32)
    good = member(sky, np.ones((32, 32)))
    with pytest.raises(InvalidValueError, match="no mosaic without exposures"):
        drizzle_group([], grid)
    for pixfrac, kernel in (
        (0.0, "square"),
        (1.1, "square"),
        (np.nan, "square"),
        (1.0, "lanczos3"),
    ):
        with pytest.raises(InvalidValueError, match="expected a fraction above 0"):
            drizzle_group([good], grid, pixfrac=pixfrac, kernel=kernel)
    for rescale in (0.0, -1.0, np.nan):
        with pytest.raises(InvalidValueError, match="expected a positive factor"):
            drizzle_group([member(sky, np.ones((32, 32)), rescale=rescale)], grid)
    with pytest.raises(InvalidValueError, match="no usable pixel"):
        drizzle_group([member(sky, np.full((32, 32), np.nan))], grid)
    with pytest.raises(InvalidValueError, match=r"have shapes \(32, 32\) and .*\(31, 32\)"):
        drizzle_group([DrizzleMember(good.sci, good.err, good.dq[1:], sky)], grid)


def test_without_drizzle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drizzle.resample", None)
    sky = small(n_pixels=32)
    with pytest.raises(MissingExtraError, match=r"pip install 'calreg\[mosaic\]'"):
        drizzle_group([member(sky, np.ones((32, 32)))], grid_of(sky, n_pixels=32))
