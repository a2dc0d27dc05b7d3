"""PhotomStep of the real pipeline takes the photom files that calreg makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg.domain import Pmap
from calreg.files.references.parents import ReferenceMeta
from calreg.files.references.photom import (
    PhotomRow,
    PhotomScaling,
    corrected_copy,
    new_photom,
    read_photom_parent,
)
from support.crdsfiles import SUBARRAYS, write_photom_parent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calreg.instruments import Instrument

    Exported = Any

META = ReferenceMeta(
    pmap=Pmap.parse("jwst_1130.pmap"),
    code_version="0",
    created_utc=datetime(2024, 1, 1, tzinfo=UTC),
    first_utc=datetime(2022, 7, 8, tzinfo=UTC),
    last_utc=datetime(2023, 7, 6, tzinfo=UTC),
    useafter_utc=datetime(2022, 6, 1, tzinfo=UTC),
    history=("a test",),
)
BANDS = {
    "SW": ("F090W", "F150W", "F200W", "F162M", "F164N"),
    "LW": ("F277W", "F356W", "F444W", "F405N", "F470N", "F323N"),
}
PIXAR_SR = {"SW": 2.29e-14, "LW": 9.31e-14}
ARRAYS = [f"nrc{module}{array}" for module in "ab" for array in ("1", "2", "3", "4", "long")]


def calibrated(rate: Any, path: Path) -> Any:
    """Run PhotomStep with a file."""
    from jwst.photom import PhotomStep

    done = PhotomStep.call(rate, override_photom=str(path), override_area="N/A")
    # What proves that it worked: without a matching row the step is COMPLETE too.
    assert done.meta.bunit_data == "MJy/sr"
    assert done.meta.cal_step.photom == "COMPLETE"
    return done


@pytest.mark.parametrize("name", ARRAYS)
def test_a_corrected_copy_scales_every_band_and_subarray(
    name: str, nircam: Instrument, make_rate: Callable[..., Any], tmp_path: Path
) -> None:
    array = nircam.arrays[name]
    bands = [nircam.bands[band] for band in BANDS[array.channel]]
    values = {(band.filter, band.pupil): 0.3 + 0.17 * i for i, band in enumerate(bands)}
    # The last band stays as it is.
    factors = {band.name: 10.0 ** (0.4 * 0.013 * (i - 2.5)) for i, band in enumerate(bands[:-1])}
    parent = write_photom_parent(tmp_path / "parent.fits", array, values, loss_per_year=0.02)
    path = tmp_path / "photom.fits"
    scalings = [
        PhotomScaling(band.filter, band.pupil, factors[band.name], 0.001) for band in bands[:-1]
    ]
    path.write_bytes(corrected_copy(read_photom_parent(parent, nircam), scalings, META, path.name))
    for i, band in enumerate(bands):
        rate = make_rate(name, band.name, subarray=SUBARRAYS[i % len(SUBARRAYS)])
        before = rate.data.astype(np.float64)
        ours, theirs = (calibrated(rate.copy(), file) for file in (path, parent))
        factor = factors.get(band.name, 1.0)
        photmjsr = theirs.meta.photometry.conversion_megajanskys
        # The time dependence of the parent is at work: header and table differ.
        years = (rate.meta.exposure.mid_time - 59700.0) / 365.0
        table = values[band.filter, band.pupil]
        assert photmjsr == pytest.approx(table / (1.0 - 0.02 * years), rel=1e-5)
        assert ours.meta.photometry.conversion_megajanskys == pytest.approx(
            factor * photmjsr, rel=1e-6
        )
        np.testing.assert_allclose(ours.data, before * factor * photmjsr, rtol=1e-6)
        np.testing.assert_allclose(ours.err, factor * theirs.err, rtol=1e-6)
        np.testing.assert_allclose(ours.var_poisson, factor**2 * theirs.var_poisson, rtol=2e-6)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_without_parent(
    name: str, nircam: Instrument, make_rate: Callable[..., Any], tmp_path: Path
) -> None:
    array = nircam.arrays[name]
    bands = [nircam.bands[band] for band in BANDS[array.channel]]
    rows = [
        PhotomRow(band.filter, band.pupil, "", 0.3 + 0.1 * i, np.nan)
        for i, band in enumerate(bands)
    ]
    path = tmp_path / "photom.fits"
    path.write_bytes(
        new_photom(array, rows, PIXAR_SR[array.channel], META, path.name, instrument=nircam)
    )
    for i, (row, band) in enumerate(zip(rows, bands, strict=True)):
        rate = make_rate(name, band.name, subarray=("FULL", "SUB160")[i % 2])
        before = rate.data.astype(np.float64)
        done = calibrated(rate, path)
        np.testing.assert_allclose(done.data, before * row.photmjsr, rtol=1e-6)
        assert done.meta.photometry.conversion_megajanskys == pytest.approx(row.photmjsr, rel=1e-6)
        assert done.meta.photometry.pixelarea_steradians == pytest.approx(
            PIXAR_SR[array.channel], rel=1e-9
        )


@pytest.mark.parametrize(
    ("name", "band"), [*((f"nrca{i}", "F200W") for i in "1234"), ("nrcalong", "F444W")]
)
def test_exported_files_reproduce_the_registrys_offsets(
    name: str, band: str, exported: Exported, make_rate: Callable[..., Any]
) -> None:
    """SW: input x PHOTMJSR x 10**(+0.4 offset); LW: with the mean of the gradient."""
    rate = make_rate(name, band)
    before = rate.data.astype(np.float64)
    theirs = calibrated(rate.copy(), exported.parents[name])
    ours = calibrated(rate, exported.photom[name])
    ratio = (
        ours.meta.photometry.conversion_megajanskys / theirs.meta.photometry.conversion_megajanskys
    )
    row = exported.rows[name.removeprefix("nrca"), band]
    if band == "F200W":
        assert ratio == pytest.approx(10.0 ** (0.4 * row.offset_ab_mag), rel=1e-6)
    else:
        # Modules' middles are 1.45 arcmin from the field's centre, half the gradient in each.
        mean_mag = row.offset_ab_mag + row.slope_mag_arcmin * 1.46
        assert 2.5 * np.log10(ratio) == pytest.approx(mean_mag, abs=3e-5)
    np.testing.assert_allclose(
        ours.data, before * ours.meta.photometry.conversion_megajanskys, rtol=1e-6
    )
