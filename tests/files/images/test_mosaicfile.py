from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from calreg.domain import ExposureKind, Pmap
from calreg.errors import InvalidValueError, OutputError
from calreg.files.atomic import NamedFiles, pending_file, sha256_of
from calreg.files.fits.cards import header_block
from calreg.files.images.exposurepixels import read_cal_image
from calreg.files.images.exposures import read_exposure
from calreg.files.images.mosaicfile import MosaicMember, write_mosaic
from calreg.instruments import load_instrument
from calreg.science.imaging.drizzling import DrizzledMosaic, DrizzleMember, drizzle_group
from calreg.science.sky.footprints import FootprintSet, pairs_overlap
from calreg.science.sky.grids import Grid, offset_between
from support.calimages import SHAPE, write_cal
from support.distorted import DistortedSky, distorted_sky

if TYPE_CHECKING:
    from pathlib import Path

    from support.fitsimages import CardTable

PMAP = Pmap(1130)
N_MEMBERS = 3
MARGIN = 6


def pointing(k: int) -> DistortedSky:
    return distorted_sky(265.11, 65.81 + k * 0.1 / 3600.0, 41.0, SHAPE[0])


def make_members(
    folder: Path, primary: CardTable | None = None
) -> tuple[list[DrizzleMember], list[MosaicMember], Grid]:
    """Write exposures, read them back, and return them with their grid."""
    drizzled, members = [], []
    for k in range(N_MEMBERS):
        start = 59768.25 + 0.01 * k
        times: CardTable = {"EXPSTART": start, "EXPMID": start + 0.004, "EXPEND": start + 0.008}
        path = write_cal(
            folder / f"jw01176241001_02101_0000{k + 1}_nrca1_cal.fits",
            sky=pointing(k),
            primary={**times, "EXPOSURE": str(k + 1), **(primary or {})},
        )
        image = read_cal_image(path)
        drizzled.append(
            DrizzleMember(image.sci, image.err, image.dq, image.world.sky, image.var_rnoise)
        )
        exposure = read_exposure(path, instrument=load_instrument(), full_hash=True)
        members.append(
            MosaicMember(exposure, 1.0, 0.2 + 0.01 * k, image.world.source, image.world.cards)
        )
    footprints = [pointing(k).footprint(SHAPE[1]) for k in range(N_MEMBERS)]
    return drizzled, members, Grid.covering(footprints, 0.06, 41.0, MARGIN)


@pytest.fixture
def made(tmp_path: Path) -> tuple[DrizzledMosaic, list[MosaicMember], Grid]:
    drizzled, members, grid = make_members(tmp_path)
    drizzled[1].dq[10, 10] = 2
    return drizzle_group(drizzled, grid), members, grid


def write(
    path: Path, made: tuple[DrizzledMosaic, list[MosaicMember], Grid], **options: Any
) -> Path:
    mosaic, members, _ = made
    pending = pending_file(path, overwrite=options.pop("overwrite", False))
    chosen = {"pmap": PMAP, "code_version": "0.1.0", **options}
    write_mosaic(pending, mosaic, members, load_instrument(), **chosen)
    with NamedFiles() as names:
        names.give(pending)
    return path


def test_planes(made: Any, tmp_path: Path) -> None:
    mosaic = made[0]
    path = write(tmp_path / "m_i2d.fits", made)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        names = [hdu.name for hdu in hdus]
        assert names == ["PRIMARY", "SCI", "ERR", "WHT", "CON", "DQ", "HDRTAB"]
        for name, plane in (
            ("SCI", mosaic.sci),
            ("ERR", mosaic.err),
            ("WHT", mosaic.wht),
            ("CON", mosaic.con),
            ("DQ", mosaic.dq),
        ):
            np.testing.assert_array_equal(hdus[name].data, plane)
            assert hdus[name].data.dtype.name == plane.dtype.name
        assert hdus["WHT"].header["WHTTYPE"] == "ivm"
        assert hdus[0].header["WHTTYPE"] == "ivm"
        assert hdus[0].header["NOISCORR"] == mosaic.noise_correlation > 1.0
        assert set(np.unique(hdus["DQ"].data)) == {0, 1, 2}


def test_header(made: Any, tmp_path: Path) -> None:
    mosaic, _, grid = made
    more = {"FORCECTX": (False, "one context forced"), "CALINDIG": ("a" * 100, "inputs")}
    path = write(tmp_path / "m_i2d.fits", made, cards=more)
    with fits.open(path) as hdus:
        primary, science = hdus[0].header, hdus["SCI"].header
        expected = {
            "TELESCOP": "JWST",
            "INSTRUME": "NIRCAM",
            "DETECTOR": "NRCA1",
            "CHANNEL": "SHORT",
            "MODULE": "A",
            "FILTER": "F150W",
            "PUPIL": "CLEAR",
            "EXP_TYPE": "NRC_IMAGE",
            "SUBARRAY": "FULL",
            "PROGRAM": "01176",
            "OBSERVTN": "241",
            "TARGPROP": "JWIDF",
            "CRDS_CTX": "jwst_1130.pmap",
            "CAL_VER": "1.12.5",
            "EXPSTART": 59768.25,
            "EXPMID": pytest.approx(59768.264, abs=1e-9),
            "EXPEND": 59768.278,
            "EFFEXPTM": 3 * 1728.0,
            "R_PHOTOM": "crds://jwst_nircam_photom_0153.fits",
            "R_AREA": "N/A",
            "S_RESAMP": "COMPLETE",
            "NDRIZ": 3,
            "KERNEL": "square",
            "PIXFRAC": 1.0,
            "FILENAME": "m_i2d.fits",
            "CALREGVR": "0.1.0",
            "FORCECTX": False,
            "CALINDIG": "a" * 100,
        }
        assert {name: primary[name] for name in expected} == expected
        assert science["BUNIT"] == "MJy/sr"
        assert science["PHOTMJSR"] == 2.333
        assert science["PIXAR_SR"] == pytest.approx(grid.pixel_sr, rel=1e-15)
        assert science["PIXAR_A2"] == pytest.approx(0.0036)
        # uJy/arcsec2 per MJy/sr: 1e12 / 4.2545e10
        assert science["PHOTUJA2"] == pytest.approx(2.333 * 23.5045, rel=1e-5)
        assert science["PA_V3"] == 41.0
        assert science["V2_REF"] == 120.576793
        found = Grid.from_wcs(WCS(science), mosaic.sci.shape)
        assert offset_between(grid, found) == (0, 0)
        assert found.scale_arcsec == pytest.approx(0.06, rel=1e-14)


def test_members(made: Any, tmp_path: Path) -> None:
    members = made[1]
    with fits.open(write(tmp_path / "m_i2d.fits", made)) as hdus:
        table = hdus["HDRTAB"].data
        assert len(table) == N_MEMBERS
        for k, (row, member) in enumerate(zip(table, members, strict=True)):
            assert row["FILENAME"] == f"jw01176241001_02101_0000{k + 1}_nrca1_cal.fits"
            assert row["DETECTOR"] == "NRCA1"
            assert row["CRDS_CTX"] == row["CTXINPUT"] == "jwst_1130.pmap"
            assert row["DIGEST"] == member.exposure.header_sha256
            assert row["SHA256"] == sha256_of(tmp_path / row["FILENAME"])
            assert row["EXPSTART"] == member.exposure.expstart_mjd_utc
            assert row["BACKGRND"] == 0.2 + 0.01 * k
            assert row["RESCALE"] == 1.0
            assert row["WCS_FROM"] == "sip"
            assert (row["RA_REF"], row["V3_REF"]) == (265.11, -527.501431)
            sky = DistortedSky(WCS(fits.Header.fromstring(row["WCS"])))
            x, y = np.array([3.0, 40.0]), np.array([30.0, 2.0])
            np.testing.assert_allclose(
                sky.sky_of(x, y), pointing(k).sky_of(x, y), atol=3e-9, rtol=0.0
            )
        assert hdus["HDRTAB"].columns["XPOSURE"].unit == "s"


def test_ingest_takes_it_as_a_mosaic(made: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "m_i2d.fits", made)
    exposure = read_exposure(path, instrument=load_instrument())
    assert exposure.kind is ExposureKind.I2D
    assert exposure.n_members == N_MEMBERS
    assert exposure.pmap == PMAP
    assert (exposure.array, exposure.band) == ("nrca1", "F150W")
    assert exposure.roll_deg == 41.0
    assert exposure.exposure_time_s == 3 * 1728.0
    covered = FootprintSet.of([exposure.footprint])
    detector = FootprintSet.of([pointing(0).footprint(SHAPE[0])])
    assert pairs_overlap(covered, detector, np.array([[0, 0]])).all()


def test_members_of_a_forced_context(tmp_path: Path) -> None:
    drizzled, members, grid = make_members(tmp_path)
    old = replace(members[2].exposure, pmap=Pmap(1046), photmjsr=2.333 / 1.25, r_photom="old.fits")
    members[2] = replace(members[2], exposure=old, rescale=1.25)
    made = drizzle_group(drizzled, grid), members, grid
    path = write(tmp_path / "m_i2d.fits", made)
    exposure = read_exposure(path, instrument=load_instrument())
    assert exposure.pmap == PMAP
    assert exposure.photmjsr == 2.333
    table = fits.getdata(path, "HDRTAB")
    assert table["CTXINPUT"].tolist() == ["jwst_1130.pmap"] * 2 + ["jwst_1046.pmap"]
    assert table["RESCALE"].tolist() == [1.0, 1.0, 1.25]
    # There is no one photom file that the pixels went through.
    assert (exposure.r_photom, exposure.r_flat) == ("", "jwst_nircam_flat_0612.fits")


def test_many_context_planes(made: Any, tmp_path: Path) -> None:
    mosaic, members, grid = made
    con = np.stack([mosaic.con[0], 7 * mosaic.con[0], -mosaic.con[0]])
    path = write(tmp_path / "m_i2d.fits", (replace(mosaic, con=con), members, grid))
    np.testing.assert_array_equal(fits.getdata(path, "CON"), con)


def test_names_beyond_ascii(made: Any, tmp_path: Path) -> None:
    mosaic, members, grid = made
    named = replace(members[0], exposure=replace(members[0].exposure, file_name="Müll_cal.fits"))
    path = write(tmp_path / "Größe_i2d.fits", (mosaic, [named, *members[1:]], grid))
    assert fits.getval(path, "FILENAME") == "Gr??e_i2d.fits"
    assert fits.getdata(path, "HDRTAB")["FILENAME"][0] == "M?ll_cal.fits"


def test_same_input_same_bytes(made: Any, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    paths = [write(folder / "m_i2d.fits", made) for folder in (tmp_path, tmp_path / "again")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_members_without_numbers(made: Any, tmp_path: Path) -> None:
    mosaic, members, grid = made
    bare = [
        replace(
            member,
            exposure=replace(
                member.exposure,
                exposure_time_s=None,
                ra_v1_deg=None,
                v2_ref_arcsec=None,
                cal_ver="",
            ),
        )
        for member in members
    ]
    path = write(tmp_path / "m_i2d.fits", (mosaic, bare, grid))
    with fits.open(path) as hdus:
        assert "RA_V1" not in hdus["SCI"].header
        assert np.isnan(hdus["HDRTAB"].data["V2_REF"]).all()
        assert hdus["HDRTAB"].data["CAL_VER"].tolist() == ["", "", ""]
        assert hdus[0].header["EFFEXPTM"] == 0.0


# --- refusals -------------------------------------------------------------------------------------


def test_members_that_do_not_fit(made: Any, tmp_path: Path) -> None:
    mosaic, members, grid = made
    path = tmp_path / "m_i2d.fits"
    with pytest.raises(InvalidValueError, match="2 members for a mosaic of 3"):
        write(path, (mosaic, members[:2], grid))
    odd = [*members[:2], replace(members[2], rescale=1.1)]
    with pytest.raises(InvalidValueError, match=r"PHOTMJSR from 2.333 to 2.5663 MJy/sr"):
        write(path, (mosaic, odd, grid))
    none = [*members[:2], replace(members[2], exposure=replace(members[2].exposure, photmjsr=None))]
    with pytest.raises(InvalidValueError, match=r"00003_nrca1_cal\.fits has no PHOTMJSR"):
        write(path, (mosaic, none, grid))
    assert not path.exists()


def test_existing_file(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "m_i2d.fits"
    path.write_text("precious")
    with pytest.raises(OutputError, match="it exists"):
        write(path, made)
    assert path.read_text() == "precious"
    write(path, made, overwrite=True)
    assert fits.getval(path, "NDRIZ") == 3


@pytest.mark.parametrize("n_writes", [0, 3])
def test_full_disk_leaves_nothing(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_writes: int
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    done = 0

    def block(cards: Any) -> bytes:
        nonlocal done
        done += 1
        if done > n_writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return header_block(cards)

    monkeypatch.setattr("calreg.files.fits.write.header_block", block)
    path = folder / "m_i2d.fits"
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write(path, made)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert list(folder.iterdir()) == []


def test_no_such_folder(made: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        write(tmp_path / "none" / "m_i2d.fits", made)
