"""Simulated files are what the archive, astropy and our own readers expect."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from calreg.domain import ExposureKind
from calreg.errors import OutputError, UnknownKeyError
from calreg.files.catalogs.read import read_catalog
from calreg.files.fits.cards import format_card
from calreg.files.images.exposures import read_exposure
from calreg.files.recognise import FileKind, recognise
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import sep_arcsec
from calreg.science.sky.pointing import detector_to_sky
from calreg.simulation.files import mosaic_zero_point_mag, write_programme
from calreg.simulation.headers import HeaderTemplate
from calreg.simulation.simulate import Programme, SimulatedMosaic, simulate_jwidf
from calreg.simulation.sources import MOSAIC_CRPIX, mosaic_pixels
from calreg.units import ab_mag, surface_brightness_to_ujy

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.cards import Value


@pytest.fixture(scope="module")
def programme() -> Programme:
    return simulate_jwidf(1, n_epochs=2, bands=("F150W", "F444W"), faint_per_patch=30)


@pytest.fixture(scope="module")
def folder(programme: Programme, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("jwidf")
    write_programme(programme, directory)
    return directory


def _path(folder: Path, mosaic: SimulatedMosaic, name: str) -> Path:
    return folder / mosaic.pmap.removesuffix(".pmap") / f"epoch{mosaic.epoch.number}" / name


def test_files_are_laid_out_by_context_and_epoch(programme: Programme, folder: Path) -> None:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {
        _path(folder, mosaic, name)
        for mosaic in programme.mosaics
        for name in (
            mosaic.file_name,
            mosaic.catalog_name,
            *(member.file_name for member in mosaic.members),
        )
    }
    assert set(found) == names  # and no temporary file is left
    assert len(found) == 2 * 2 * 10 * (6 + 1 + 1)
    old, new = (
        sorted(path.relative_to(root) for path in root.rglob("*"))
        for root in (folder / "jwst_1039", folder / "jwst_1130")
    )
    assert old == new


def test_our_reader_gets_back_what_was_simulated(programme: Programme, folder: Path) -> None:
    instrument = load_instrument()
    for mosaic in programme.mosaics:
        for member in mosaic.members:
            read = read_exposure(_path(folder, mosaic, member.file_name), instrument=instrument)
            assert read.kind is ExposureKind.CAL
            assert (read.program, read.observation, read.visit, read.exposure) == (
                "01176",
                member.epoch.observation,
                "001",
                str(member.dither),
            )
            for name in ("ra_v1_deg", "dec_v1_deg", "pa_v3_deg", "ra_ref_deg", "roll_ref_deg"):
                assert getattr(read, name) == getattr(member, name)
            assert read.expstart_mjd_utc == member.expstart_mjd_utc
            assert read.pixar_sr == member.pixar_sr
            assert read.r_photom == member.photom_file
            # S_REGION has nine decimals of a degree.
            np.testing.assert_allclose(read.footprint, member.footprint, rtol=0, atol=6e-10)
        read = read_exposure(_path(folder, mosaic, mosaic.file_name), instrument=instrument)
        assert read.kind is ExposureKind.I2D
        assert (read.array, read.band, read.pmap.name) == (
            mosaic.array.name,
            mosaic.band.name,
            mosaic.pmap,
        )
        assert (read.n_members, read.bunit) == (6, "MJy/sr")
        assert read.exposure_time_s == mosaic.epoch.exposure_time_s
        assert read.photmjsr == mosaic.members[0].photmjsr
        assert read.pixar_sr == mosaic.pixar_sr
        np.testing.assert_allclose(read.footprint, mosaic.footprint, rtol=0, atol=6e-10)


def test_astropy_opens_every_kind_of_file_without_a_warning(
    programme: Programme, folder: Path
) -> None:
    mosaic = programme.mosaics[0]
    expected = {
        mosaic.members[0].file_name: ["PRIMARY", "SCI", "ERR", "DQ", "AREA", "VAR_POISSON"],
        mosaic.file_name: ["PRIMARY", "SCI", "ERR", "CON", "WHT", "VAR_POISSON"],
    }
    for name, start in expected.items():
        with fits.open(_path(folder, mosaic, name)) as hdus:
            hdus.verify("exception")
            extensions = [hdu.name for hdu in hdus]
            assert extensions[:6] == start
            assert extensions[6:8] == ["VAR_RNOISE", "VAR_FLAT"]
            assert "SIMULATED" in str(hdus[0].header["COMMENT"])
            assert hdus["SCI"].data.shape == (16, 16)
            assert np.isfinite(hdus["SCI"].data).all()
            if name == mosaic.file_name:
                members = hdus["HDRTAB"].data
                assert set(members["CRDS_CTX"]) == {mosaic.pmap}
                assert list(members["FILENAME"]) == [m.file_name for m in mosaic.members]
            else:
                assert hdus["DQ"].data.dtype == np.uint32
                assert not hdus["DQ"].data.any()


def test_headers_hold_every_card_that_calreg_knows(programme: Programme, folder: Path) -> None:
    mosaic = programme.mosaics[0]
    with fits.open(_path(folder, mosaic, mosaic.file_name)) as hdus:
        for keyword in load_instrument().keywords.values():
            assert keyword.card in hdus[keyword.hdu].header, keyword.card


def test_headers_hold_the_cards_of_a_real_exposure(
    programme: Programme, folder: Path, shared_data: Path
) -> None:
    mosaic = programme.mosaics[0]
    real_path = shared_data / "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"
    with (
        fits.open(real_path) as real,
        fits.open(_path(folder, mosaic, mosaic.members[0].file_name)) as ours,
    ):
        assert set(real[0].header) <= set(ours[0].header)
        lacking = set(real["SCI"].header) - set(ours["SCI"].header)
        # The simulated WCS is linear and not written twice; the observatory has no position.
        assert not {
            card
            for card in lacking
            if not re.fullmatch(r"A?[AB]P?_\w+|SIP\w+|CD\d_\d|OBSGEO.*|MJDREF", card)
        }
        # Strings stay strings, numbers numbers.
        for keyword, value in real[0].header.items():
            if keyword and keyword not in {"COMMENT", "HISTORY"}:
                assert isinstance(ours[0].header[keyword], str) == isinstance(value, str), keyword


def test_s_region_needs_continue_as_in_real_files(programme: Programme, folder: Path) -> None:
    mosaic = programme.mosaics[0]
    path = _path(folder, mosaic, mosaic.members[0].file_name)
    with fits.open(path) as hdus:
        text = hdus["SCI"].header["S_REGION"]
    assert text.startswith("POLYGON ICRS  ")
    assert len(text.split()) == 10
    assert path.read_bytes().count(b"CONTINUE  ") >= 3


def test_wcs_of_an_exposure_is_its_pointing(programme: Programme, folder: Path) -> None:
    for mosaic in programme.mosaics[::7]:
        member = mosaic.members[2]
        with fits.open(_path(folder, mosaic, member.file_name)) as hdus:
            wcs = WCS(hdus["SCI"].header)
        x, y = np.array([0.0, 2047.0, 300.0]), np.array([0.0, 100.0, 1900.0])
        ra_deg, dec_deg = wcs.pixel_to_world_values(x, y)
        reference = (member.ra_ref_deg, member.dec_ref_deg, member.roll_ref_deg)
        expected = detector_to_sky(x, y, member.array, *reference)
        assert sep_arcsec(ra_deg, dec_deg, *expected).max() < 1e-6


def test_wcs_of_a_mosaic_is_the_catalogs_grid(programme: Programme, folder: Path) -> None:
    mosaic = programme.mosaics[-1]
    with fits.open(_path(folder, mosaic, mosaic.file_name)) as hdus:
        header = hdus["SCI"].header
        corner = (MOSAIC_CRPIX[0] - header["CRPIX1"], MOSAIC_CRPIX[1] - header["CRPIX2"])
        wcs = WCS(header)
    rows = mosaic.detections
    ra_deg, dec_deg = wcs.all_pix2world(rows.x_fits - corner[0], rows.y_fits - corner[1], 1)
    # 1e-7 arcsec is rounding over 3000 pixels.
    assert sep_arcsec(ra_deg, dec_deg, rows.ra_deg, rows.dec_deg).max() < 1e-6
    assert np.concatenate(mosaic_pixels(np.zeros(1), np.zeros(1))).tolist() == list(MOSAIC_CRPIX)


def test_pixels_of_two_contexts_differ_by_photmjsr(programme: Programme, folder: Path) -> None:
    old = programme.mosaic("jwst_1039.pmap", "F444W", "nrcalong", 1)
    new = programme.mosaic("jwst_1130.pmap", "F444W", "nrcalong", 1)
    names = (old.members[0].file_name, old.file_name)
    for name in names:
        with (
            fits.open(_path(folder, old, name)) as before,
            fits.open(_path(folder, new, name)) as after,
        ):
            ratio = after["SCI"].header["PHOTMJSR"] / before["SCI"].header["PHOTMJSR"]
            assert ratio != 1.0
            np.testing.assert_allclose(
                after["SCI"].data / before["SCI"].data, ratio, rtol=5e-7
            )  # float32


def test_catalogs_are_read_as_sextractors(programme: Programme, folder: Path) -> None:
    for mosaic in programme.mosaics:
        path = _path(folder, mosaic, mosaic.catalog_name)
        kind = recognise(path)
        assert kind is FileKind.SEXTRACTOR_LDAC
        catalog = read_catalog(path, kind)
        rows = mosaic.detections
        assert catalog.image_name == mosaic.file_name
        np.testing.assert_array_equal(catalog.number, rows.number)
        np.testing.assert_array_equal(catalog.flags, rows.flags)
        np.testing.assert_array_equal(catalog.ra_deg, rows.ra_win_deg)
        np.testing.assert_allclose(catalog.x, rows.xwin_fits - 1.0, rtol=0, atol=1e-3)
        assert catalog.n_negative_flux == np.count_nonzero(rows.flux_iso <= 0.0)
        keep = rows.flux_iso > 0.0
        mag = ab_mag(catalog.flux[keep] * surface_brightness_to_ujy(mosaic.pixar_sr))
        # SExtractor's columns are single precision: 6e-8 relative in flux, 1e-6 in a magnitude.
        np.testing.assert_allclose(mag, rows.mag_iso[keep], rtol=0, atol=2e-7)
        np.testing.assert_allclose(catalog.mag[keep], rows.mag_iso[keep], rtol=0, atol=2e-6)


def test_zero_point_of_the_catalogs_is_that_of_the_pixels(programme: Programme) -> None:
    mosaic = programme.mosaics[0]
    rows = mosaic.detections
    keep = rows.flux_iso > 0.0
    mag = mosaic_zero_point_mag(mosaic) - 2.5 * np.log10(rows.flux_iso[keep])
    np.testing.assert_allclose(mag, rows.mag_iso[keep], rtol=0, atol=1e-10)


def _digest(directory: Path) -> str:
    """One digest over all names and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(directory)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def test_the_seed_fixes_every_byte(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        small = simulate_jwidf(seed, n_epochs=1, bands=("F444W",), faint_per_patch=5)
        write_programme(small, tmp_path / name)
        digests.append(_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_epochs_can_be_written_one_by_one(
    programme: Programme, folder: Path, tmp_path: Path
) -> None:
    first = write_programme(programme, tmp_path, epochs=[1])
    assert {path.parent.name for path in first} == {"epoch1"}
    assert len(first) == len(set(first)) == 2 * 10 * 8
    second = write_programme(programme, tmp_path, epochs=[2])
    assert not set(first) & set(second)
    assert _digest(tmp_path) == _digest(folder)


def test_nothing_is_overwritten(programme: Programme, folder: Path, tmp_path: Path) -> None:
    before = _digest(folder)
    with pytest.raises(OutputError, match=r"cannot be written .*empty directory"):
        write_programme(programme, folder)
    assert _digest(folder) == before
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be made"):
        write_programme(programme, blocked)


_VALUES: list[Value] = [
    True,
    False,
    0,
    -2147483648,
    0.0,
    -72.16920833333336,
    9.31e-14,
    1e-5,
    1e300,
    8.461594994075239e-14,
    "",
    "CLEAR",
    "Proposer's name",
    "x" * 68,
    "x" * 69,
    "POLYGON ICRS  264.874153070 68.979659536 " * 4 + "end",
    "it's " * 40,
    "'" * 80,
    "ends in ampersand&",
]


@pytest.mark.parametrize("value", _VALUES)
def test_cards_read_back_through_astropy(value: Value) -> None:
    image = format_card("KEYWORD", value, "what it means")
    assert len(image) % 80 == 0
    card = fits.Card.fromstring(image)
    card.verify("exception")
    assert card.value == (value.rstrip() if isinstance(value, str) else value)
    assert type(card.value) is type(value)
    # A comment yields to a value that fills its card.
    assert card.comment in {"what it means", ""}


def test_templates_refuse_unknown_cards() -> None:
    template = HeaderTemplate("sci")
    with pytest.raises(UnknownKeyError, match="no card NOSUCH"):
        template.filled({"NOSUCH": 1})
    with pytest.raises(KeyError):
        HeaderTemplate("nothing")
