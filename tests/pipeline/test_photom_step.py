"""PhotomStep of the real pipeline takes the photom files that calreg makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg.domain import Pmap
from calreg.files.photom import PhotomRow, new_photom
from calreg.files.reference import ReferenceMeta

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calreg.instruments import Instrument

META = ReferenceMeta(
    pmap=Pmap.parse("jwst_1130.pmap"),
    code_version="0",
    created_utc=datetime(2024, 1, 1, tzinfo=UTC),
    first_utc=datetime(2022, 7, 8, tzinfo=UTC),
    last_utc=datetime(2023, 7, 6, tzinfo=UTC),
    useafter_utc=datetime(2022, 6, 1, tzinfo=UTC),
    history=("a test",),
)
BANDS = {"SW": ("F090W", "F150W", "F162M", "F164N"), "LW": ("F277W", "F444W", "F405N", "F323N")}
PIXAR_SR = {"SW": 2.29e-14, "LW": 9.31e-14}


@pytest.mark.parametrize(
    "name", [f"nrc{module}{array}" for module in "ab" for array in ("1", "2", "3", "4", "long")]
)
def test_photom_step_multiplies_by_the_row_of_the_band(
    name: str, nircam: Instrument, make_rate: Callable[..., Any], tmp_path: Path
) -> None:
    from jwst.photom import PhotomStep

    array = nircam.arrays[name]
    bands = [nircam.bands[band] for band in BANDS[array.channel]]
    rows = [
        PhotomRow(band.filter, band.pupil, "", 0.3 + 0.1 * i, 0.01) for i, band in enumerate(bands)
    ]
    path = tmp_path / "photom.fits"
    path.write_bytes(
        new_photom(array, rows, PIXAR_SR[array.channel], META, path.name, instrument=nircam)
    )
    for row, band in zip(rows, bands, strict=True):
        rate = make_rate(name, band.name)
        before = rate.data.astype(np.float64)
        done = PhotomStep.call(rate, override_photom=str(path), override_area="N/A")
        # Single precision rounds table, conversion and product.
        np.testing.assert_allclose(done.data, before * row.photmjsr, rtol=3e-7)
        assert done.meta.photometry.conversion_megajanskys == pytest.approx(row.photmjsr, rel=1e-7)
        assert done.meta.bunit_data == "MJy/sr"
        assert done.meta.cal_step.photom == "COMPLETE"
