"""Simulated exposures with all their pixels are what ingest and mosaics take."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from calreg.domain import ExposureKind
from calreg.errors import OutputError
from calreg.files.images.exposurepixels import WcsSource, read_cal_image
from calreg.files.images.exposures import read_exposure
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import sep_arcsec
from calreg.simulation.distortion import siaf_distortion
from calreg.simulation.pixelfiles import write_cal, write_exposures
from calreg.simulation.pixels import PixelSettings, SimulatedPixels, simulate_pixels
from calreg.simulation.scene import Scene, draw_scene
from calreg.simulation.simulate import Programme, simulate_jwidf

if TYPE_CHECKING:
    from pathlib import Path

PMAP = "jwst_1130.pmap"


@pytest.fixture(scope="module")
def programme() -> Programme:
    return simulate_jwidf(1, n_epochs=1, pmaps=(PMAP,), bands=("F444W",), n_dithers=1)


@pytest.fixture(scope="module")
def scene(programme: Programme) -> Scene:
    return draw_scene(1, programme.sky)


@pytest.fixture(scope="module")
def written(
    programme: Programme, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    folder = tmp_path_factory.mktemp("pixels")
    return write_exposures(programme, scene, folder, PixelSettings())


def simulated(programme: Programme, scene: Scene) -> SimulatedPixels:
    exposure = programme.exposures[0]
    truth = programme.true_coefficients(PMAP, "F444W", "long")
    distortion = siaf_distortion(exposure.array)
    return simulate_pixels(exposure, scene, truth, 0, distortion, PixelSettings())


def test_names_and_folders(programme: Programme, written: list[Path]) -> None:
    assert [path.name for path in written] == [e.file_name for e in programme.exposures]
    assert {path.parent.name for path in written} == {"epoch1"}
    assert sorted(written[0].parent.iterdir()) == sorted(written)  # and nothing temporary


def test_pixels_come_back(programme: Programme, scene: Scene, written: list[Path]) -> None:
    pixels, read = simulated(programme, scene), read_cal_image(written[0])
    for name in ("sci", "err", "dq", "var_rnoise"):
        np.testing.assert_array_equal(getattr(read, name), getattr(pixels, name))
    assert read.world.source is WcsSource.SIP
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-0.5, 2047.5, (2, 200))
    expected = pixels.wcs.all_pix2world(x, y, 0)
    # Cards hold fifteen digits: below a nanoarcsecond.
    assert sep_arcsec(*read.world.sky.sky_of(x, y), *expected).max() < 1e-6


def test_planes_and_their_units(programme: Programme, scene: Scene, written: list[Path]) -> None:
    pixels = simulated(programme, scene)
    with fits.open(written[0]) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == [
            "PRIMARY", "SCI", "ERR", "DQ", "AREA", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT",
        ]  # fmt: skip
        assert "SIMULATED" in str(hdus[0].header["COMMENT"])
        assert (hdus["SCI"].header["BUNIT"], hdus["ERR"].header["BUNIT"]) == ("MJy/sr", "MJy/sr")
        np.testing.assert_array_equal(hdus["AREA"].data, pixels.area)
        np.testing.assert_array_equal(hdus["VAR_FLAT"].data, pixels.var_flat)
        np.testing.assert_array_equal(hdus["VAR_POISSON"].data, pixels.var_poisson)
        for keyword in load_instrument().keywords.values():
            if keyword.card not in {"NDRIZ", "S_RESAMP", "S_OUTLIR"}:  # of mosaics
                assert keyword.card in hdus[keyword.hdu].header, keyword.card
        # The inverse terms too, for programs that do not invert by themselves.
        wcs = WCS(hdus["SCI"].header)
        focal = wcs.sip.pix2foc(np.array([[100.0, 2000.0]]), 1)
        np.testing.assert_allclose(wcs.sip.foc2pix(focal, 1), [[100.0, 2000.0]], rtol=0, atol=0.01)


def test_headers_are_what_ingest_takes(programme: Programme, written: list[Path]) -> None:
    for exposure, path in zip(programme.exposures, written, strict=True):
        read = read_exposure(path, instrument=load_instrument())
        assert read.kind is ExposureKind.CAL
        assert (read.array, read.band, read.pmap.name) == (exposure.array.name, "F444W", PMAP)
        assert (read.photmjsr, read.pixar_sr) == (exposure.photmjsr, exposure.pixar_sr)
        # The outline is that of the distorted array, a second from the linear one at corners.
        with fits.open(path) as hdus:
            wcs = WCS(hdus["SCI"].header)
        corners = wcs.all_pix2world([-0.5, 2047.5, 2047.5, -0.5], [-0.5, -0.5, 2047.5, 2047.5], 0)
        assert sep_arcsec(*read.footprint.T, *corners).max() < 1e-5
        assert 0.1 < sep_arcsec(*read.footprint.T, *exposure.footprint.T).max() < 2.0


def test_files_are_the_same_from_two_processes(
    programme: Programme, scene: Scene, written: list[Path], tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    again = write_exposures(
        programme,
        scene,
        tmp_path,
        PixelSettings(),
        jobs=2,
        progress=lambda *step: seen.append(step),
    )
    assert seen == [("simulating exposures", 1, 2), ("simulating exposures", 2, 2)]
    for path, other in zip(written, again, strict=True):
        digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (path, other)}
        assert len(digests) == 1


def test_nothing_is_overwritten_and_no_half_is_left(
    programme: Programme, scene: Scene, written: list[Path], tmp_path: Path
) -> None:
    before = written[0].stat()
    pixels = simulated(programme, scene)
    with pytest.raises(OutputError, match=r"cannot be written .*empty directory with room"):
        write_cal(written[0], pixels)
    assert written[0].stat() == before
    broken = tmp_path / "x_cal.fits"
    object.__setattr__(pixels, "dq", None)
    with pytest.raises(AttributeError):
        write_cal(broken, pixels)
    assert not broken.exists()
    assert write_exposures(programme, scene, tmp_path, PixelSettings(), epochs=[2]) == []
