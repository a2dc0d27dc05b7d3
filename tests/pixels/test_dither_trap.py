"""A gradient fixed to the detector, through exposures, a dithered mosaic and photometry."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg import Registry
from calreg.instruments import load_instrument
from calreg.pixels.measure.options import MeasureOptions
from calreg.pixels.mosaic.plan import MosaicOptions
from calreg.simulation.pixelfiles import write_exposures
from calreg.simulation.pixels import PixelSettings
from calreg.simulation.programme import MODULE_MIDDLE_V2_V3_ARCSEC, TrueCoefficients
from calreg.simulation.scene import GradientFrame, draw_scene
from calreg.simulation.simulate import simulate_jwidf
from calreg.simulation.sources import along_field

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf

if TYPE_CHECKING:
    from pathlib import Path

PMAP = "jwst_1130.pmap"
LONG_A, LONG_B = (load_instrument().arrays[name] for name in ("nrcalong", "nrcblong"))
PER_ARCMIN = 0.1
"""k; the array's own gradient is -k / 2 along the line from A to B: 0.11 mag over the array, well
above the noise."""

MAG_LIMIT = 21.5


def along_detector(v2_arcsec: np.ndarray, v3_arcsec: np.ndarray) -> np.ndarray:
    """Return the coordinate from A to B in the focal plane [arcmin]."""
    line = np.array(
        [
            LONG_B.v2_ref_arcsec - LONG_A.v2_ref_arcsec,
            LONG_B.v3_ref_arcsec - LONG_A.v3_ref_arcsec,
        ]
    )
    line /= np.hypot(*line)
    middle_v2, middle_v3 = MODULE_MIDDLE_V2_V3_ARCSEC
    return np.asarray(
        (line[0] * (v2_arcsec - middle_v2) + line[1] * (v3_arcsec - middle_v3)) / 60.0
    )


def slope_of(coordinate: np.ndarray, dmag: np.ndarray) -> float:
    """Return a robust slope over the injected one."""
    keep = np.ones(dmag.size, dtype=bool)
    for _ in range(4):
        line = np.polyfit(coordinate[keep], dmag[keep], 1)
        left = dmag - np.polyval(line, coordinate)
        keep = np.abs(left) < 4.0 * 1.4826 * np.median(np.abs(left[keep]))
    return float(line[0]) / (-0.5 * PER_ARCMIN)


@pytest.mark.slow
def test_dithers_make_a_detector_gradient_shallower_on_the_sky(
    sqlite_template: Path, tmp_path: Path
) -> None:
    programme = simulate_jwidf(
        1,
        n_epochs=1,
        pmaps=(PMAP,),
        bands=("F444W",),
        truth=[TrueCoefficients(PMAP, "F444W", "long", 0.0, PER_ARCMIN)],
        bright_scale=4,
        faint_per_patch=20,
    )
    programme = replace(
        programme, exposures=tuple(e for e in programme.exposures if e.array == LONG_A)
    )
    scene = draw_scene(1, programme.sky)
    # Stars alone, so that a fixed aperture holds the same share of all of them.
    everything = np.ones(scene.is_star.size, dtype=bool)
    scene = replace(scene, is_star=everything, half_light_arcsec=0.0 * scene.half_light_arcsec)
    settings = PixelSettings(gradient=GradientFrame.DETECTOR)
    exposures = write_exposures(programme, scene, tmp_path, settings)
    assert len(exposures) == 6
    database = tmp_path / "trap.sqlite"
    shutil.copyfile(sqlite_template, database)
    with Registry(f"sqlite:///{database}") as registry:
        made = registry.mosaic(exposures, MosaicOptions(out=tmp_path / "mosaics"))
        registry.measure([made.rows[0].file], MeasureOptions())
        found = registry.detections(array="nrcalong")

    ra, dec = (axis[: scene.sky.xi_arcmin.size] for axis in scene.positions())
    is_plain = ~scene.sky.is_variable & ~scene.sky.is_blended & (scene.sky.mag[:, 0] < MAG_LIMIT)
    # ISO, AUTO and APER: each tells the same.
    assert np.unique(found["catalog_id"]).size == 3
    for catalog_id in np.unique(found["catalog_id"]):
        is_good = (found["catalog_id"] == catalog_id) & (found["flags"] == 0)
        rows = np.flatnonzero(is_good & np.isfinite(found["mag_ab"]))
        east = (found["ra_deg"][rows][:, np.newaxis] - ra) * np.cos(np.radians(dec)) * 3600.0
        separation = np.hypot(east, (found["dec_deg"][rows][:, np.newaxis] - dec) * 3600.0)
        nearest = separation.argmin(axis=1)
        is_matched = (separation.min(axis=1) < 0.1) & is_plain[nearest]
        rows, nearest = rows[is_matched], nearest[is_matched]
        assert rows.size > 150
        dmag = found["mag_ab"][rows] - scene.sky.mag[nearest, 0]

        x_sci, y_sci = found["x_det"][rows] + 1.0, found["y_det"][rows] + 1.0
        by_pixel = along_detector(*pysiaf.Siaf("NIRCam")["NRCA5_FULL"].sci_to_tel(x_sci, y_sci))
        by_angle = along_detector(found["v2_arcsec"][rows], found["v3_arcsec"][rows])
        # The mean of pixels is not quite that of angles, by the distortion within the dithers.
        np.testing.assert_allclose(by_pixel, by_angle, rtol=0, atol=0.1 / 60.0)

        # What is stored sees the gradient as it was put in: 4 mmag of noise and neighbours over
        # 200 stars along 2.9 arcmin are 0.015 of it (measured: 1.00, 1.00 and 1.02).
        by_stored = slope_of(by_pixel, dmag)
        assert by_stored == pytest.approx(1.0, abs=0.045)
        assert slope_of(by_angle, dmag) == pytest.approx(by_stored, abs=2e-3)
        # The sky does not: a quarter is missing, as tests/unit/test_coverage.py derives. The ratio
        # of the two slopes has little of the noise, which they share (measured: 0.737 thrice).
        sky = along_field(scene.xi_arcmin[nearest], scene.eta_arcmin[nearest])
        assert slope_of(sky, dmag) / by_stored == pytest.approx(0.736, abs=0.015)
