"""The simulator: counts, geometry, noise and injected terms against what they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import InvalidValueError, UnknownKeyError
from calreg.flags import DetectionFlag
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import (
    FieldAxis,
    along_axis,
    field_axis,
    module_side,
    sep_arcsec,
    tangent_plane,
)
from calreg.simulation import programme as jwidf
from calreg.simulation.programme import TrueCoefficients
from calreg.simulation.simulate import Programme, SimulatedMosaic, simulate_jwidf
from calreg.simulation.sources import MOSAIC_PIXAR_SR, NO_MAG, along_field
from calreg.units import ab_mag, surface_brightness_to_ujy

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.domain import BoolArray
    from calreg.units import FloatArray

OLD, NEW = jwidf.PMAPS
KEYS = [(entry.band, entry.array_id) for entry in jwidf.programme_truth() if entry.pmap == NEW]


@pytest.fixture(scope="module")
def jwidf_programme() -> Programme:
    return simulate_jwidf(1)


def _clean(programme: Programme, mosaic: SimulatedMosaic) -> BoolArray:
    """Rows that a fit takes: brighter than 22, no flags, constant, real."""
    rows = mosaic.detections
    is_real = rows.source >= 0
    is_constant = ~programme.sky.is_variable[rows.source]
    return np.asarray((rows.mag_iso < 22.0) & (rows.flags == 0) & is_real & is_constant)


def _pairs(
    programme: Programme, key: tuple[str, str, str], epochs: tuple[int, int], module: str
) -> tuple[FloatArray, FloatArray]:
    """Return (later minus earlier, d) on the patch that a module saw in the first epoch."""
    pmap, band, array_id = key
    arrays = {"A": f"nrca{array_id}", "B": f"nrcb{array_id}"}
    other = "B" if module == "A" else "A"
    seen_by = {1: arrays[module], -1: arrays[other]}
    sides = [programme.epochs[number - 1].side for number in epochs]
    first, second = (
        programme.mosaic(pmap, band, seen_by[side], number)
        for number, side in zip(epochs, sides, strict=True)
    )
    keep = _clean(programme, first) & _clean(programme, second)
    dmag = (second.detections.mag_iso - first.detections.mag_iso)[keep]
    source = first.detections.source[keep]
    return dmag, along_field(programme.sky.xi_arcmin, programme.sky.eta_arcmin)[source]


@pytest.mark.parametrize("pmap", jwidf.PMAPS)
@pytest.mark.parametrize("band", jwidf.BANDS)
def test_bright_sources_per_patch_are_those_of_table_2(
    jwidf_programme: Programme, pmap: str, band: str
) -> None:
    for epoch in (1, 2, 3):
        counts = {
            mosaic.patch: int(np.count_nonzero(_clean(jwidf_programme, mosaic)))
            for mosaic in jwidf_programme.mosaics
            if (mosaic.pmap, mosaic.band.name, mosaic.epoch.number) == (pmap, band, epoch)
        }
        assert counts == jwidf.SOURCE_COUNTS[band]


@pytest.mark.parametrize(
    ("band", "n_sources"), [("F150W", 171), ("F200W", 213), ("F356W", 171), ("F444W", 158)]
)
def test_bright_sources_of_the_field_are_near_table_1(
    jwidf_programme: Programme, band: str, n_sources: int
) -> None:
    sky = jwidf_programme.sky
    mag = sky.mag[:, jwidf_programme.bands.index(band)]
    n_found = np.count_nonzero((mag < 22.0) & ~sky.is_variable & ~sky.is_blended)
    # The paper's patches overlap by an amount that it does not state: within 10 per cent.
    assert abs(n_found - n_sources) < 0.1 * n_sources


def test_every_bright_source_has_a_signal_to_noise_ratio_above_100(
    jwidf_programme: Programme,
) -> None:
    for mosaic in jwidf_programme.mosaics:
        rows = mosaic.detections
        keep = _clean(jwidf_programme, mosaic)
        assert (rows.flux_iso[keep] > 100.0 * rows.flux_iso_err[keep]).all()


def test_signal_to_noise_grows_to_the_bright_end(jwidf_programme: Programme) -> None:
    rows = jwidf_programme.mosaic(NEW, "F444W", "nrcalong", 3).detections
    near_limit = (np.abs(rows.mag_iso - 22.2) < 0.2) & (rows.flags == 0)
    bright = (rows.mag_iso < 20.0) & (rows.flags == 0)
    ratio = rows.flux_iso / np.where(rows.flux_iso_err > 0.0, rows.flux_iso_err, np.inf)
    # 110 at 22.0 gives 94 at 22.2 (sky-dominated); 5 per cent covers the spread in the window.
    assert np.median(ratio[near_limit]) == pytest.approx(94.0, rel=0.1)
    assert ratio[bright].min() > 300.0


def test_epochs_are_the_papers(jwidf_programme: Programme) -> None:
    # 59768, 59950, 60131 = 2022-07-08, 2023-01-06, 2023-07-06
    assert [int(epoch.start_mjd_utc) for epoch in jwidf_programme.epochs] == [59768, 59950, 60131]
    times = [epoch.exposure_time_s for epoch in jwidf_programme.epochs]
    assert times == pytest.approx([3157.0, 2512.0, 2835.0], abs=0.6)  # whole seconds in the paper
    rolls = [epoch.roll_deg for epoch in jwidf_programme.epochs]
    assert rolls[0] == rolls[2]
    assert (rolls[1] - rolls[0]) % 360.0 == pytest.approx(180.0, abs=1e-9)
    assert len(jwidf_programme.exposures) == 2 * 3 * 20 * 6
    assert len(jwidf_programme.mosaics) == 2 * 3 * 20


def test_long_axis_is_at_72_degrees_through_the_field_centre(jwidf_programme: Programme) -> None:
    exposures = [exposure.footprint for exposure in jwidf_programme.exposures]
    mosaics = [mosaic.footprint for mosaic in jwidf_programme.mosaics]
    for footprints in (exposures, mosaics, exposures + mosaics):
        axis = field_axis(footprints)
        assert axis.pa_deg == pytest.approx(72.0, abs=1.0)
        # 1 arcsec times the larger slope is 0.07 mmag.
        assert sep_arcsec(axis.origin_ra_deg, axis.origin_dec_deg, 265.02, 68.98) < 1.0


def test_module_b_sees_the_north_east_half_in_epochs_1_and_3(jwidf_programme: Programme) -> None:
    axis = FieldAxis(72.0, 265.02, 68.98)
    instrument = load_instrument()
    for mosaic in jwidf_programme.mosaics:
        d_arcmin = along_axis(mosaic.footprint[:, 0], mosaic.footprint[:, 1], axis).mean()
        is_north_east = mosaic.array.module == ("B" if mosaic.epoch.number != 2 else "A")
        assert (d_arcmin > 0.3) if is_north_east else (d_arcmin < -0.3)
    for exposure in jwidf_programme.exposures:
        side = module_side(exposure.pa_v3_deg, axis, instrument, exposure.array.array_id)
        assert side == exposure.epoch.side


def test_partner_arrays_see_the_same_patch_in_alternate_epochs(jwidf_programme: Programme) -> None:
    instrument = load_instrument()
    for mosaic in jwidf_programme.mosaics:
        if mosaic.epoch.number != 1:
            continue
        partner = instrument.partner(mosaic.array).name
        later = jwidf_programme.mosaic(mosaic.pmap, mosaic.band.name, partner, 2)
        assert later.patch == mosaic.patch == mosaic.array.name
        assert later.detection_name == mosaic.file_name
        centres = [m.footprint.mean(axis=0) for m in (mosaic, later)]
        # Reference points are centre-symmetric to about an arcsec (instruments/nircam.toml).
        assert sep_arcsec(*centres[0], *centres[1]) < 2.0
        np.testing.assert_array_equal(later.detections.source, mosaic.detections.source)
        np.testing.assert_array_equal(later.detections.number, mosaic.detections.number)
        np.testing.assert_array_equal(later.detections.ra_deg, mosaic.detections.ra_deg)


def test_dithers_close_the_gap_between_the_modules(jwidf_programme: Programme) -> None:
    extents = []
    for array in ("nrcalong", "nrcblong"):
        mosaic = jwidf_programme.mosaic(NEW, "F356W", array, 1)
        xi, eta = tangent_plane(mosaic.footprint[:, 0], mosaic.footprint[:, 1], 265.02, 68.98)
        d_arcmin = along_field(xi, eta)
        extents.append((d_arcmin.min(), d_arcmin.max()))
    (low_a, high_a), (low_b, high_b) = extents
    assert low_a < low_b < high_a < high_b
    assert high_b - low_a == pytest.approx(5.9, abs=0.1)  # paper, section 2: 5.9 x 2.4 arcmin


def test_exposures_lie_in_their_mosaic_and_differ_by_dithers(jwidf_programme: Programme) -> None:
    mosaic = jwidf_programme.mosaic(NEW, "F150W", "nrca1", 1)
    assert len({member.file_name for member in mosaic.members}) == 6
    assert mosaic.members[0].file_name == "jw01176241001_02101_00001_nrca1_cal.fits"
    assert mosaic.file_name == "jw01176-o241_t001_nircam_clear-f150w_nrca1_i2d.fits"
    starts = [member.expstart_mjd_utc for member in mosaic.members]
    ends = [member.expend_mjd_utc for member in mosaic.members]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    names = {(exposure.pmap, exposure.file_name) for exposure in jwidf_programme.exposures}
    assert len(names) == len(jwidf_programme.exposures)


@pytest.mark.parametrize(("band", "array_id"), KEYS)
@pytest.mark.parametrize("pmap", jwidf.PMAPS)
@pytest.mark.parametrize("epochs", [(1, 2), (2, 3)])
def test_medians_recover_the_injected_offsets(
    jwidf_programme: Programme, pmap: str, band: str, array_id: str, epochs: tuple[int, int]
) -> None:
    truth = jwidf_programme.true_coefficients(pmap, band, array_id)
    side = jwidf_programme.epochs[epochs[0] - 1].side
    medians, errors = [], []
    # `module` is the one that saw the patch in epoch 1; its partner did in epoch 2.
    for module, sign in (("B", 1.0), ("A", -1.0)):
        dmag, d_arcmin = _pairs(jwidf_programme, (pmap, band, array_id), epochs, module)
        rest = dmag - side * truth.slope_mag_arcmin * d_arcmin
        medians.append(side * sign * np.median(rest))
        errors.append(1.2533 * rest.std() / np.sqrt(rest.size))
    offset = 0.5 * (medians[0] + medians[1])
    # 40 cases: 4 sigma of the median of a normal sample.
    assert abs(offset - truth.offset_ab_mag) < 4.0 * 0.5 * np.hypot(*errors)


def test_offsets_are_unbiased_and_scatter_as_the_noise_says() -> None:
    pulls = []
    for seed in range(25):
        programme = simulate_jwidf(
            seed, n_epochs=2, pmaps=(NEW,), bands=("F150W", "F356W"), faint_per_patch=0
        )
        for entry in programme.truth:
            rests = []
            for module, sign in (("B", 1.0), ("A", -1.0)):
                key = (NEW, entry.band, entry.array_id)
                dmag, d_arcmin = _pairs(programme, key, (1, 2), module)
                model = sign * entry.offset_ab_mag + entry.slope_mag_arcmin * d_arcmin
                rests.append(sign * (dmag - model))
            rest = np.concatenate(rests)
            pulls.append(rest.mean() / (rest.std(ddof=1) / np.sqrt(rest.size)))
    # 125 pulls: standard error of the mean 0.089, of the standard deviation 0.063; 3.5 sigma.
    assert abs(np.mean(pulls)) < 0.32
    assert np.std(pulls) == pytest.approx(1.0, abs=0.22)


def test_gradient_is_fixed_to_the_detectors() -> None:
    steep = tuple(replace(entry, slope_mag_arcmin=0.05) for entry in jwidf.programme_truth())
    programme = simulate_jwidf(1, truth=steep, bands=("F444W",), pmaps=(NEW,))
    for epochs, slope in (((1, 2), 0.05), ((2, 3), -0.05), ((1, 3), 0.0)):
        for module in "AB":
            dmag, d_arcmin = _pairs(programme, (NEW, "F444W", "long"), epochs, module)
            fitted = np.polyfit(d_arcmin, dmag, 1)[0]
            # Scatter 10 mmag, 80 sources over 0.85 arcmin rms: 1.3 mmag / arcmin; 4 sigma.
            assert fitted == pytest.approx(slope, abs=0.0055)


def test_equal_rolls_show_no_offset_but_time_terms_do() -> None:
    truth = tuple(replace(entry, time_mag=(0.0, 0.02, 0.05)) for entry in jwidf.programme_truth())
    shifted = simulate_jwidf(3, truth=truth, pmaps=(NEW,), bands=("F356W",))
    steady = simulate_jwidf(3, pmaps=(NEW,), bands=("F356W",))
    for module in "AB":
        dmag, _ = _pairs(steady, (NEW, "F356W", "long"), (1, 3), module)
        assert abs(np.median(dmag)) < 4.0 * 1.2533 * dmag.std() / np.sqrt(dmag.size)
        moved, _ = _pairs(shifted, (NEW, "F356W", "long"), (1, 3), module)
        assert np.median(moved) - np.median(dmag) == pytest.approx(0.05, abs=1e-12)


def test_contexts_differ_by_the_truth_only_and_only_in_module_a(
    jwidf_programme: Programme,
) -> None:
    for mosaic in jwidf_programme.mosaics:
        if mosaic.pmap != OLD:
            continue
        new = jwidf_programme.mosaic(NEW, mosaic.band.name, mosaic.array.name, mosaic.epoch.number)
        key = (mosaic.band.name, mosaic.array.array_id)
        change = (
            jwidf_programme.true_coefficients(NEW, *key).offset_ab_mag
            - jwidf_programme.true_coefficients(OLD, *key).offset_ab_mag
        )
        keep = mosaic.detections.mag_iso < NO_MAG
        dmag = (new.detections.mag_iso - mosaic.detections.mag_iso)[keep]
        expected = change if mosaic.array.module == "A" else 0.0
        np.testing.assert_allclose(dmag, expected, rtol=0.0, atol=1e-12)
        # PHOTMJSR is single precision: 6e-8 relative is 1e-7 mag.
        ratio = new.members[0].photmjsr / mosaic.members[0].photmjsr
        assert -2.5 * np.log10(ratio) == pytest.approx(expected, abs=2e-7)
        same_file = new.members[0].photom_file == mosaic.members[0].photom_file
        assert same_file == (mosaic.array.module == "B" or mosaic.array.array_id in {"2", "4"})


def test_variables_change_by_more_than_0_3_mag_between_any_epochs(
    jwidf_programme: Programme,
) -> None:
    sky = jwidf_programme.sky
    n_variable = np.count_nonzero(sky.is_variable)
    assert 0.005 < n_variable / sky.is_variable.size < 0.02
    n_bright = 0
    for module in "AB":
        arrays = [f"nrc{name}long" for name in (module, "b" if module == "A" else "a", module)]
        mosaics = [
            jwidf_programme.mosaic(NEW, "F356W", array.lower(), number)
            for number, array in enumerate(arrays, start=1)
        ]
        source = mosaics[0].detections.source
        bright = (source >= 0) & sky.is_variable[source] & (mosaics[0].detections.mag_iso < 21.5)
        n_bright += int(np.count_nonzero(bright))
        mags = np.array([mosaic.detections.mag_iso[bright] for mosaic in mosaics])
        for i, j in ((0, 1), (1, 2), (0, 2)):
            assert (np.abs(mags[j] - mags[i]) > 0.28).all()  # 0.35 less offset and noise
    assert n_bright >= 3


def test_blends_noise_and_missing_coverage_are_flagged(jwidf_programme: Programme) -> None:
    sky = jwidf_programme.sky
    n_negative = n_blended = n_uncovered = 0
    for mosaic in jwidf_programme.mosaics:
        rows = mosaic.detections
        is_blended = (rows.source >= 0) & sky.is_blended[rows.source]
        np.testing.assert_array_equal(is_blended, (rows.flags & DetectionFlag.BLENDED) > 0)
        is_missing = (rows.flags & DetectionFlag.ISOPHOTE_INCOMPLETE) > 0
        assert (rows.flux_iso[is_missing] == 0.0).all()
        is_negative = rows.flux_iso <= 0.0
        assert (rows.mag_iso[is_negative] == NO_MAG).all()
        assert (rows.mag_iso[~is_negative] < 40.0).all()
        n_blended += int(is_blended.sum())
        n_uncovered += int(is_missing.sum())
        n_negative += int((is_negative & ~is_missing).sum())
    assert n_blended > 0
    assert n_uncovered > 0
    assert n_negative > 0


@pytest.mark.parametrize("band", jwidf.BANDS)
def test_positions_scatter_as_in_table_1(jwidf_programme: Programme, band: str) -> None:
    shifts: list[FloatArray] = []
    for mosaic in jwidf_programme.mosaics:
        if (mosaic.pmap, mosaic.band.name, mosaic.epoch.number) != (NEW, band, 1):
            continue
        partner = load_instrument().partner(mosaic.array).name
        later = jwidf_programme.mosaic(NEW, band, partner, 2).detections
        first = mosaic.detections
        keep = _clean(jwidf_programme, mosaic)
        d_ra = (later.ra_win_deg - first.ra_win_deg) * np.cos(np.radians(first.dec_deg))
        d_dec = later.dec_win_deg - first.dec_win_deg
        shifts.append(3.6e6 * np.column_stack([d_ra, d_dec])[keep])
    shift = np.concatenate(shifts)
    table = jwidf.ASTROMETRY[band]
    expected = np.array([[table.ra_mas, table.dec_mas], [table.ra_mad_mas, table.dec_mad_mas]])
    medians = np.median(shift, axis=0)
    mads = np.median(np.abs(shift - medians), axis=0)
    # 170 to 230 pairs of sigma 3 to 5 mas: 0.45 mas on a median, 8 per cent on a MAD; 4 sigma.
    assert np.abs(medians - expected[0]).max() < 1.6
    np.testing.assert_allclose(mads, expected[1], rtol=0.35)


def test_fluxes_are_sums_of_pixels_in_mjy_per_sr(jwidf_programme: Programme) -> None:
    mosaic = jwidf_programme.mosaic(OLD, "F200W", "nrcb3", 2)
    assert mosaic.pixar_sr == MOSAIC_PIXAR_SR == pytest.approx(8.4616e-14, rel=1e-4)
    rows = mosaic.detections
    keep = rows.flux_iso > 0.0
    mag = ab_mag(rows.flux_iso[keep] * surface_brightness_to_ujy(mosaic.pixar_sr))
    np.testing.assert_allclose(mag, rows.mag_iso[keep], rtol=0.0, atol=1e-10)


def test_no_two_sources_are_within_the_matching_radius_but_blends(
    jwidf_programme: Programme,
) -> None:
    sky = jwidf_programme.sky
    order = np.argsort(sky.xi_arcmin)
    xi, eta, blended = sky.xi_arcmin[order], sky.eta_arcmin[order], sky.is_blended[order]
    for step in range(1, 20):
        near = np.hypot(xi[step:] - xi[:-step], eta[step:] - eta[:-step]) < 0.3 / 60.0
        assert (blended[step:] & blended[:-step])[near].all()


def _catalog_bytes(programme: Programme) -> bytes:
    """All numbers of a programme's catalogs."""
    return b"".join(
        values.tobytes()
        for mosaic in programme.mosaics
        for values in vars(mosaic.detections).values()
    )


def test_the_seed_fixes_everything_and_longer_programmes_continue_shorter_ones() -> None:
    short = simulate_jwidf(5, faint_per_patch=20)
    again = simulate_jwidf(5, faint_per_patch=20)
    assert _catalog_bytes(short) == _catalog_bytes(again)
    assert _catalog_bytes(short) != _catalog_bytes(simulate_jwidf(6, faint_per_patch=20))
    longer = simulate_jwidf(5, n_epochs=5, faint_per_patch=20)
    assert [epoch.side for epoch in longer.epochs] == [1, -1, 1, -1, 1]
    assert longer.epochs[:3] == short.epochs
    for mosaic in short.mosaics:
        key = (mosaic.pmap, mosaic.band.name, mosaic.array.name, mosaic.epoch.number)
        for name, values in vars(longer.mosaic(*key).detections).items():
            np.testing.assert_array_equal(values, getattr(mosaic.detections, name))


def test_other_contexts_truth_and_numbers_of_sources() -> None:
    pmaps = tuple(f"jwst_{number}.pmap" for number in (1000, 1200, 900))
    truth = [
        TrueCoefficients(pmap, "F356W", "long", 0.01 * index, 0.002)
        for index, pmap in enumerate(pmaps)
    ]
    programme = simulate_jwidf(
        2, n_epochs=4, pmaps=pmaps, truth=truth, bands=("F356W",), bright_scale=3, n_dithers=2
    )
    assert programme.pmaps == ("jwst_1000.pmap", "jwst_1200.pmap", "jwst_0900.pmap")
    assert len(programme.mosaics) == 3 * 4 * 2
    assert {len(mosaic.members) for mosaic in programme.mosaics} == {2}
    mosaic = programme.mosaic(pmaps[1], "F356W", "nrcblong", 1)
    assert np.count_nonzero(_clean(programme, mosaic)) == 3 * 83


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_epochs": 0}, InvalidValueError, "0 epochs"),
        ({"n_dithers": 7}, InvalidValueError, "7 dithers"),
        ({"pmaps": ()}, InvalidValueError, "at least one pmap"),
        ({"pmaps": ("latest",)}, InvalidValueError, "numbered context"),
        ({"pmaps": ("jwst_1200.pmap",)}, UnknownKeyError, "no simulated truth for jwst_1200.pmap"),
        ({"bands": ("F115W",)}, UnknownKeyError, "no simulated truth for jwst_1039.pmap F115W"),
        ({"bright_scale": 500}, InvalidValueError, "no room"),
        ({"faint_per_patch": 100_000}, InvalidValueError, "has room for"),
    ],
)
def test_impossible_programmes_are_refused(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        simulate_jwidf(1, **arguments)  # type: ignore[arg-type]


def test_unknown_keys_of_a_programme_are_refused(jwidf_programme: Programme) -> None:
    with pytest.raises(InvalidValueError, match="no mosaic"):
        jwidf_programme.mosaic(NEW, "F150W", "nrca1", 4)
    with pytest.raises(UnknownKeyError):
        jwidf_programme.true_coefficients(NEW, "F150W", "long")
    with pytest.raises(UnknownKeyError, match="JWIDF has no F090W"):
        jwidf.base_photmjsr("F090W", "nrca1")


def test_truth_is_the_published_table(shared_data: Path) -> None:
    lines = (shared_data / "idf_zpcor_1130_pmap.ecsv").read_text().splitlines()
    header, *rows = (line.split() for line in lines if not line.startswith("#"))
    published = {
        (row[header.index("filt")].upper(), row[header.index("det")]): (
            float(row[header.index("dmag_ab")]),
            float(row[header.index("slope")]),
        )
        for row in rows
    }
    truth = {
        (entry.band, entry.array_id): (entry.offset_ab_mag, entry.slope_mag_arcmin)
        for entry in jwidf.programme_truth()
        if entry.pmap == NEW
    }
    assert truth == published
