from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from calreg.domain import Exposure, ExposureKind, Pmap
from calreg.errors import (
    CalregError,
    FileFormatError,
    HeaderValueError,
    MissingKeywordError,
    UnsupportedDataError,
)
from calreg.files.atomic import sha256_of
from calreg.files.fits.headers import read_headers
from calreg.files.images.exposures import read_exposure
from calreg.instruments import load_instrument
from support.fitsimages import PIXELS, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.instruments import Keyword

REAL_EXPOSURE = "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"
MOSAIC: dict[str, str | float | None] = {"S_RESAMP": "COMPLETE", "S_OUTLIR": "COMPLETE", "NDRIZ": 9}

SQUARE = "POLYGON ICRS  214.98 52.99 215.02 52.99 215.02 53.01 214.98 53.01"
BOW_TIE = "POLYGON ICRS  214.98 52.99 215.02 53.01 215.02 52.99 214.98 53.01"
LINE = "POLYGON ICRS  215.0 52.99 215.0 53.0 215.0 53.01"
POLE_TO_POLE = (
    "POLYGON ICRS  81.180590749 -89.374247193 81.112666873 -89.374247193 "
    "81.112666873 89.303900795 81.180590749 89.303900795"
)


def read(path: Path, *, full_hash: bool = False) -> Exposure:
    return read_exposure(path, instrument=load_instrument("nircam"), full_hash=full_hash)


def refusal(path: Path, error: type[CalregError]) -> str:
    """Return the one line, beginning with the file, of the error that reading must raise."""
    with pytest.raises(error) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# --- real files -----------------------------------------------------------------------------------


def test_real_exposure(shared_data: Path) -> None:
    path = shared_data / REAL_EXPOSURE
    exposure = read(path, full_hash=True)
    found = {name: getattr(exposure, name) for name in Exposure.__dataclass_fields__}
    footprint = found.pop("footprint")
    assert found == {
        "kind": ExposureKind.CAL,
        "program": "01227",
        "observation": "002",
        "visit": "001",
        "visit_group": "02",
        "sequence": "1",
        "activity": "05",
        "exposure": "1",
        "array": "nrcalong",
        "pmap": Pmap(1046),
        "cal_ver": "1.9.4",
        "filter": "F444W",
        "pupil": "CLEAR",
        "band": "F444W",
        "subarray": "FULL",
        "expstart_mjd_utc": 59776.40282657581,
        "expmid_mjd_utc": 59776.40313724624,
        "expend_mjd_utc": 59776.40344791667,
        "exposure_time_s": 42.947,
        "n_members": 1,
        "ra_v1_deg": 14.26338813102824,
        "dec_v1_deg": -72.1705913196639,
        "pa_v3_deg": 275.7585278550421,
        "ra_ref_deg": 14.71648616672556,
        "dec_ref_deg": -72.16009119964826,
        "roll_ref_deg": 275.3272320917782,
        "v2_ref_arcsec": 85.87763,
        "v3_ref_arcsec": -493.586939,
        "roll_deg": 275.7585278550421,
        "s_region": "POLYGON ICRS  14.780090014 -72.143669890 14.663478433 -72.140800818 "
        "14.652507372 -72.176045532 14.769949792 -72.179796115",
        "bunit": "MJy/sr",
        "photmjsr": 0.3925000131130219,
        "pixar_sr": 9.31e-14,
        "r_photom": "jwst_nircam_photom_0111.fits",
        "r_flat": "jwst_nircam_flat_0574.fits",
        "r_area": "jwst_nircam_area_0015.fits",
        "target": "NGC-346",
        "file_name": REAL_EXPOSURE,
        "directory": str(shared_data.absolute()),
        "file_size_bytes": 385920,
        "header_sha256": read_headers(path).sha256,
        "file_sha256": sha256_of(path),
    }
    expected = [
        [14.780090014, -72.143669890],
        [14.663478433, -72.140800818],
        [14.652507372, -72.176045532],
        [14.769949792, -72.179796115],
    ]
    assert footprint.tolist() == expected


@pytest.mark.parametrize("detector", ["nrca2", "nrca3", "nrca4"])
def test_real_uncal_is_refused(shared_data: Path, detector: str) -> None:
    path = shared_data / f"jw01075001001_03105_00009_{detector}_uncal.fits"
    message = refusal(path, UnsupportedDataError)
    assert "is uncal without CRDS_CTX" in message
    assert "expected cal, crf or i2d; run the jwst pipeline" in message


def test_real_reference_file_is_refused(shared_data: Path) -> None:
    message = refusal(shared_data / "jwst_nircam_photom_0064.fits", UnsupportedDataError)
    assert "is a reference file, not an exposure (REFTYPE=PHOTOM)" in message


# --- exposures ------------------------------------------------------------------------------------


def test_exposure_and_its_defaults(tmp_path: Path) -> None:
    exposure = read(write_image(tmp_path / "jw_cal.fits"))
    assert exposure.kind is ExposureKind.CAL
    assert (exposure.array, exposure.band, exposure.pmap.number) == ("nrca1", "F150W", 1130)
    assert (exposure.r_photom, exposure.r_area) == ("jwst_nircam_photom_0153.fits", "")
    assert exposure.roll_deg == 41.0
    assert exposure.n_members == 1
    assert exposure.file_sha256 is None
    assert exposure.footprint.shape == (4, 2)
    assert exposure.footprint.dtype == np.float64


def test_footprint_of_several_polygons(tmp_path: Path) -> None:
    region = f"{SQUARE} {SQUARE.replace('214.98', '215.10').replace('215.02', '215.14')}"
    exposure = read(write_image(tmp_path / "a_i2d.fits", science={"S_REGION": region}))
    assert exposure.s_region == region
    assert exposure.footprint.shape == (8, 2)
    assert exposure.footprint[[0, 7]].tolist() == [[214.98, 52.99], [215.10, 53.01]]


@pytest.mark.parametrize(
    "region",
    [
        "POLYGON ICRS  359.98 -0.02 0.02 -0.02 0.02 0.02 359.98 0.02",
        "POLYGON ICRS  -0.02 -0.02 0.02 -0.02 0.02 0.02 -0.02 0.02",
        "POLYGON ICRS  0 89.98 90 89.98 180 89.98 270 89.98",
        # vertices in the digits of the card: a spike of microarcseconds is none
        "POLYGON ICRS  10 0 10.01 0 10.01 0.01 10.005 0.01 10.005000001 0.010000001 10 0.01",
    ],
)
def test_outline_that_is_healthy(tmp_path: Path, region: str) -> None:
    read(write_image(tmp_path / "a_cal.fits", science={"S_REGION": region}))


def test_narrow_band_is_named_by_its_pupil(tmp_path: Path) -> None:
    cards = {"DETECTOR": "NRCBLONG", "FILTER": "F444W", "PUPIL": "F470N"}
    exposure = read(write_image(tmp_path / "a_cal.fits", primary=cards))
    assert (exposure.band, exposure.filter, exposure.pupil) == ("F470N", "F444W", "F470N")


@pytest.mark.parametrize(
    ("name", "cards", "kind"),
    [
        ("a_cal.fits", {}, ExposureKind.CAL),
        ("a_destrip_tweakregstep.fits", {}, ExposureKind.CAL),
        ("a_crf.fits", {}, ExposureKind.CRF),
        ("a_crfints.fits", {}, ExposureKind.CRF),
        ("a.fits", {"S_OUTLIR": "COMPLETE"}, ExposureKind.CRF),
        ("a.fits", {"S_OUTLIR": "SKIPPED"}, ExposureKind.CAL),
        ("a.fits", {"FILENAME": "jw_crf.fits"}, ExposureKind.CRF),
        ("a_i2d.fits", {}, ExposureKind.I2D),
        ("a.fits", {"FILENAME": "jw_i2d.fits"}, ExposureKind.I2D),
        ("a.fits", {"S_RESAMP": "COMPLETE", "S_OUTLIR": "COMPLETE"}, ExposureKind.I2D),
        ("a.fits", {"DATAMODL": "DrizProductModel"}, ExposureKind.I2D),
    ],
)
def test_kind(tmp_path: Path, name: str, cards: dict[str, str], kind: ExposureKind) -> None:
    exposure = read(write_image(tmp_path / name, primary=cards))
    assert exposure.kind is kind
    assert (exposure.visit == "") is (kind is ExposureKind.I2D)


def test_cards_are_found_in_the_other_header(tmp_path: Path) -> None:
    moved: dict[str, str | float | None] = {"PHOTMJSR": 1.5, "PIXAR_SR": 2e-14, "BUNIT": "MJy/sr"}
    path = write_image(
        tmp_path / "a_cal.fits",
        primary={**moved, "DETECTOR": None, "FILTER": ""},
        science={**dict.fromkeys(moved), "DETECTOR": "NRCB2", "FILTER": "F200W"},
    )
    exposure = read(path)
    assert (exposure.photmjsr, exposure.pixar_sr, exposure.bunit) == (1.5, 2e-14, "MJy/sr")
    assert (exposure.array, exposure.filter) == ("nrcb2", "F200W")


def test_each_card_is_taken_from_where_it_belongs(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "a_cal.fits", primary={"PHOTMJSR": 9.0}, science={"CRDS_CTX": "jwst_0001.pmap"}
    )
    exposure = read(path)
    assert (exposure.photmjsr, exposure.pmap.number) == (2.333, 1130)


def test_missing_times_are_derived(tmp_path: Path) -> None:
    no_end = write_image(tmp_path / "a_cal.fits", primary={"EXPMID": None, "EXPEND": None})
    exposure = read(no_end)
    # 1728 s are 0.02 d; MJD near 6e4 resolves 7e-12 d.
    assert math.isclose(exposure.expend_mjd_utc, 59768.27, abs_tol=1e-10)
    assert math.isclose(exposure.expmid_mjd_utc, 59768.26, abs_tol=1e-10)
    bare = {"EXPMID": None, "EXPEND": None, "EFFEXPTM": None}
    exposure = read(write_image(tmp_path / "b_cal.fits", primary=bare))
    assert exposure.exposure_time_s is None
    assert {exposure.expmid_mjd_utc, exposure.expend_mjd_utc} == {exposure.expstart_mjd_utc}


def test_exposure_time_of_xposure(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "a_cal.fits", primary={"EFFEXPTM": None}, science={"XPOSURE": 50.5}
    )
    assert read(path).exposure_time_s == 50.5


def test_roll_is_pa_v3_else_roll_ref_modulo_360(tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / "a_cal.fits", science={"PA_V3": 360.0}),
        write_image(tmp_path / "b_cal.fits", science={"PA_V3": None}),
    ]
    assert [read(path).roll_deg for path in paths] == [0.0, 41.1]


@pytest.mark.parametrize("value", ["N/A", "n/a", "UNKNOWN", "", "crds://N/A", None])
def test_reference_file_that_was_not_used(tmp_path: Path, value: str | None) -> None:
    assert read(write_image(tmp_path / "a_cal.fits", primary={"R_FLAT": value})).r_flat == ""


def test_digests(tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / "a_cal.fits"),
        write_image(tmp_path / "b_cal.fits", pixels=PIXELS + 1),
        write_image(tmp_path / "c_cal.fits", primary={"R_AREA": "x"}),
    ]
    same, other_pixels, other_card = (read(path, full_hash=True) for path in paths)
    assert same.header_sha256 == other_pixels.header_sha256
    assert same.header_sha256 != other_card.header_sha256
    assert same.file_sha256 != other_pixels.file_sha256


def test_headers_read_before_are_used(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    headers = read_headers(path)
    path.write_bytes(b"gone")
    exposure = read_exposure(path, instrument=load_instrument("nircam"), headers=headers)
    assert exposure.header_sha256 == headers.sha256


# --- mosaics --------------------------------------------------------------------------------------


def test_mosaic(tmp_path: Path) -> None:
    cards = {**MOSAIC, "SUBARRAY": None, "VISIT": None}
    exposure = read(write_image(tmp_path / "a_i2d.fits", primary=cards))
    identity = [exposure.visit, exposure.visit_group, exposure.sequence, exposure.activity]
    assert [*identity, exposure.exposure] == [""] * 5
    assert (exposure.program, exposure.observation) == ("01176", "241")
    assert (exposure.subarray, exposure.n_members) == ("FULL", 9)


def test_mosaic_members_are_the_rows_of_its_table(tmp_path: Path) -> None:
    contexts = ["jwst_1130.pmap", "jwst_1130", "jwst_1130.pmap", "N/A"]
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, member_contexts=contexts)
    assert read(path).n_members == 4


def test_mosaic_without_count_is_of_one(tmp_path: Path) -> None:
    assert read(write_image(tmp_path / "a_i2d.fits")).n_members == 1


def test_single_hdu_mosaic_in_its_own_unit(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "field.fits",
        single_hdu=True,
        primary={"S_RESAMP": "COMPLETE", "S_PHOTOM": None, "PROGRAM": None, "OBSERVTN": None},
        science={"BUNIT": "10.0*nanoJansky", "PHOTMJSR": None},
    )
    exposure = read(path)
    assert exposure.kind is ExposureKind.I2D
    assert (exposure.program, exposure.photmjsr, exposure.bunit) == ("", None, "10.0*nanoJansky")


def test_mosaic_of_mixed_contexts_is_refused_with_both(tmp_path: Path) -> None:
    contexts = ["jwst_1130.pmap", "jwst_995.pmap", "jwst_1130.pmap"]
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, member_contexts=contexts)
    message = refusal(path, UnsupportedDataError)
    assert (
        "inputs had different contexts: found jwst_0995.pmap, jwst_1130.pmap in column" in message
    )


def test_mosaic_with_a_private_member_context_is_refused(tmp_path: Path) -> None:
    contexts = ["jwst_1130_idfcal1.pmap", "jwst_1130.pmap"]
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, member_contexts=contexts)
    assert "found jwst_1130.pmap, jwst_1130_idfcal1.pmap" in refusal(path, UnsupportedDataError)


def test_mosaic_that_states_another_context_than_its_inputs_is_refused(tmp_path: Path) -> None:
    contexts = ["jwst_1084.pmap", "jwst_1084.pmap"]
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, member_contexts=contexts)
    message = refusal(path, UnsupportedDataError)
    assert "found CRDS_CTX=jwst_1130.pmap and jwst_1084.pmap in HDRTAB" in message


def test_member_table_without_contexts_proves_nothing(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, member_contexts=["jwst_1.pmap"])
    path.write_bytes(path.read_bytes().replace(b"'CRDS_CTX'", b"'CRDS_XXX'"))
    assert read(path).n_members == 1


def test_member_table_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC)
    with fits.open(path, mode="update") as hdus:
        hdus["DQ"].name = "HDRTAB"
    assert "HDRTAB is not a table" in refusal(path, FileFormatError)


def test_mosaic_of_several_arrays_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary={**MOSAIC, "DETECTOR": "MULTIPLE"})
    assert "expected one mosaic per array" in refusal(path, UnsupportedDataError)


MEMBERS: dict[str, list[str] | list[float]] = {
    "FILENAME": ["a_nrca1_cal.fits", "b_nrca1_cal.fits"],
    "DETECTOR": ["NRCA1", "NRCA1"],
    "MODULE": ["A", "A"],
    "FILTER": ["F150W", "F150W"],
    "PUPIL": ["CLEAR", "CLEAR"],
    "CRDS_CTX": ["jwst_1130.pmap", "jwst_1130.pmap"],
    "CAL_VER": ["1.12.5", "1.12.5"],
    "PHOTMJSR": [2.333, 2.33300005],
    "PIXAR_SR": [2.2e-14, 2.2e-14],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DETECTOR": ["NRCA1", "NRCB1"]}, "different arrays: found NRCA1, NRCB1 in column DET"),
        ({"DETECTOR": ["NRCB1"] * 2}, "states another array than its inputs: found DETECTOR=NRCA1"),
        ({"MODULE": ["A", "B"]}, "different modules: found A, B in column MODULE of HDRTAB"),
        ({"FILTER": ["F150W", "F200W"]}, "different filters: found F150W, F200W in column FILTER"),
        ({"PUPIL": ["F162M", "F162M"]}, "another pupil than its inputs: found PUPIL=CLEAR and F16"),
        ({"CAL_VER": ["1.12.5", "1.13"]}, "different calibrations: found 1.12.5, 1.13 in column"),
        (
            {"PHOTMJSR": [2.333, 2.4]},
            "found 2.333, 2.4 in column PHOTMJSR of HDRTAB (2.333: the mosaic itself, a_nrca1_cal",
        ),
        ({"PHOTMJSR": [2.4, 2.4]}, "2.4: a_nrca1_cal.fits, b_nrca1_cal.fits"),
        ({"PIXAR_SR": [2.2e-14, 2.3e-14]}, "found 2.2e-14, 2.3e-14 in column PIXAR_SR"),
        (
            {"DETECTOR": ["N/A"] * 2, "FILENAME": ["a_nrca1_cal.fits", "b_nrcblong_cal.fits"]},
            "found NRCA1, NRCBLONG in the names of its members (NRCA1: a_nrca1_cal.fits; ",
        ),
    ],
)
def test_mosaic_of_members_that_differ(
    tmp_path: Path, change: dict[str, list[str] | list[float]], message: str
) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, members=MEMBERS | change)
    assert message in refusal(path, UnsupportedDataError)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"PUPIL": ["CLEAR", "N/A"], "CAL_VER": ["", "1.12.5"], "PHOTMJSR": [2.333, float("nan")]},
        {"PHOTMJSR": ["2.333", "n/a"]},
        # As calreg mosaic --pmap writes it: brought to one context from two.
        {
            "CTXINPUT": ["jwst_1130.pmap", "jwst_1084.pmap"],
            "PHOTMJSR": [2.5, 2.6],
            "CAL_VER": ["1.12.5", "1.11"],
        },
    ],
)
def test_mosaic_of_members_that_agree(
    tmp_path: Path, change: dict[str, list[str] | list[float]]
) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, members=MEMBERS | change)
    assert read(path).n_members == 2


def test_mosaic_whose_cards_name_files_of_another_array(tmp_path: Path) -> None:
    names = {"FLT00001": "jw1_1_00001_nrca1_rate.fits", "FLT00002": "jw1_1_00001_nrca3_rate.fits"}
    path = write_image(tmp_path / "a_i2d.fits", primary={**MOSAIC, **names})
    assert "found NRCA1, NRCA3 in the names of its members" in refusal(path, UnsupportedDataError)
    names["FLT00002"] = "jw1_1_00002_nrca1_rate.fits"
    assert read(write_image(tmp_path / "b_i2d.fits", primary={**MOSAIC, **names})).array == "nrca1"
    path = write_image(tmp_path / "c_i2d.fits", primary={**MOSAIC, **names, "DETECTOR": "NRCA2"})
    assert "found DETECTOR=NRCA2 and NRCA1 in the names" in refusal(path, UnsupportedDataError)


def test_mosaic_in_count_rate_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary=MOSAIC, science={"BUNIT": "DN/s"})
    assert "is rate, not photometrically calibrated" in refusal(path, UnsupportedDataError)


# --- refused cards --------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [None, "", "   "])
@pytest.mark.parametrize(
    "card",
    [
        *(
            "TELESCOP",
            "INSTRUME",
            "DETECTOR",
            "FILTER",
            "PUPIL",
            "CRDS_CTX",
            "EXP_TYPE",
            "SUBARRAY",
        ),
        *("PROGRAM", "OBSERVTN", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE"),
    ],
)
def test_missing_primary_card(tmp_path: Path, card: str, absent: str | None) -> None:
    path = write_image(tmp_path / "a_cal.fits", primary={card: absent})
    message = refusal(path, MissingKeywordError)
    assert f"card {card} is missing or empty in PRIMARY and SCI: expected " in message


REQUIRED = [keyword for keyword in load_instrument("nircam").keywords.values() if keyword.required]


@pytest.mark.parametrize("keyword", REQUIRED, ids=lambda keyword: keyword.card)
def test_every_required_card_of_the_table_is_required(tmp_path: Path, keyword: Keyword) -> None:
    without: dict[str, str | float | None] = {keyword.card: None}
    path = write_image(tmp_path / "a_i2d.fits", primary=without, science=without)
    assert f"card {keyword.card} is missing or empty" in refusal(path, MissingKeywordError)


def test_missing_roll(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits", science={"PA_V3": None, "ROLL_REF": None})
    assert "cards PA_V3 and ROLL_REF are missing" in refusal(path, MissingKeywordError)


def test_missing_card_of_single_hdu_names_the_only_header(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_i2d.fits", single_hdu=True, primary={"CRDS_CTX": None})
    assert "card CRDS_CTX is missing or empty in PRIMARY: " in refusal(path, MissingKeywordError)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"DETECTOR": "NRCA5"}, "card DETECTOR: found 'NRCA5', expected one of NRCA1, NRCA2"),
        ({"DETECTOR": "NRCALONG"}, "card FILTER: found 'F150W', expected a LW filter"),
        ({"DETECTOR": 1}, "card DETECTOR: found 1, expected text in quotes"),
        ({"PROGRAM": 1176}, "card PROGRAM: found 1176, expected text in quotes"),
        ({"CRDS_CTX": "latest"}, "card CRDS_CTX: context 'latest' cannot be a key"),
        ({"CRDS_CTX": "jwst_1130_idfcal1.pmap"}, "card CRDS_CTX: context 'jwst_1130_idfcal1.pmap'"),
        ({"CRDS_CTX": "N/A"}, "card CRDS_CTX: context 'N/A' cannot be a key"),
        ({"EXPSTART": 5.0}, r"card EXPSTART: found 5.0, expected a number from 59500 to 90000 [d]"),
        ({"EXPSTART": "NaN"}, "card EXPSTART: found 'NaN', expected a number [d]"),
        ({"EXPSTART": True}, "card EXPSTART: found True, expected a number [d]"),
        ({"EXPEND": 59768.0}, "card EXPEND: found 59768.0, expected a time not before EXPSTART"),
        ({"EXPMID": 59769.0}, "card EXPMID: found 59769.0, expected a time between EXPSTART"),
        ({"EFFEXPTM": 0.0}, "card EFFEXPTM: found 0.0, expected a number above 0 [s]"),
        ({"EFFEXPTM": -3.0}, "card EFFEXPTM: found -3.0, expected a number from 0 to inf [s]"),
    ],
)
def test_primary_card_that_cannot_be_used(
    tmp_path: Path, cards: dict[str, str | float], message: str
) -> None:
    path = write_image(tmp_path / "a_cal.fits", primary=cards)
    assert message in refusal(path, HeaderValueError)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"PA_V3": 361.0}, "card PA_V3: found 361.0, expected a number from 0 to 360 [deg]"),
        ({"DEC_V1": -90.5}, "card DEC_V1: found -90.5, expected a number from -90 to 90 [deg]"),
        ({"RA_REF": "12h"}, "card RA_REF: found '12h', expected a number [deg]"),
        (
            {"PHOTMJSR": 0.0},
            "card PHOTMJSR: found 0.0, expected a number from 0.01 to 100 [MJy/sr]",
        ),
        ({"PHOTMJSR": -1.0}, "card PHOTMJSR: found -1.0, expected a number from 0"),
        ({"PHOTMJSR": 1e-15}, "card PHOTMJSR: found 1e-15, expected a number from 0.01 to 100"),
        ({"PHOTMJSR": 100.1}, "card PHOTMJSR: found 100.1, expected a number from 0.01 to 100"),
        ({"PIXAR_SR": 0}, "card PIXAR_SR: found 0.0, expected a number above 0 [sr]"),
        ({"S_REGION": "CIRCLE ICRS 1 2 3"}, "card S_REGION: found shape 'CIRCLE'"),
        ({"S_REGION": "POLYGON ICRS 1 2 3 4 nan 5"}, "card S_REGION: found 'POLYGON"),
        ({"S_REGION": BOW_TIE}, "card S_REGION: found a polygon that crosses itself"),
        ({"S_REGION": POLE_TO_POLE}, "card S_REGION: found a polygon that reaches 89."),
        ({"S_REGION": LINE}, "card S_REGION: found a polygon without area"),
        ({"S_REGION": f"{SQUARE} {BOW_TIE}"}, "with data into the card (of an exposure, assign"),
    ],
)
def test_science_card_that_cannot_be_used(
    tmp_path: Path, cards: dict[str, str | float], message: str
) -> None:
    path = write_image(tmp_path / "a_cal.fits", science=cards)
    assert message in refusal(path, HeaderValueError)


@pytest.mark.parametrize("science", [{"BUNIT": "DN/s", "PHOTMJSR": None}, {"PHOTMJSR": None}])
def test_photom_step_without_effect_is_refused(
    tmp_path: Path, science: dict[str, str | float | None]
) -> None:
    path = write_image(tmp_path / "a_cal.fits", science=science)
    message = refusal(path, HeaderValueError)
    assert "card S_PHOTOM: found " in message
    assert "the photom step found no matching row" in message


# --- refused data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"TELESCOP": "HST"}, "card TELESCOP: found 'HST', expected 'JWST'"),
        ({"INSTRUME": "NIRISS"}, "card INSTRUME: found 'NIRISS', expected 'NIRCAM'"),
        ({"REFTYPE": "FLAT"}, "is a reference file, not an exposure (REFTYPE=FLAT)"),
        ({"EXP_TYPE": "NRC_WFSS"}, "is a grism exposure (EXP_TYPE=NRC_WFSS, PUPIL=CLEAR)"),
        ({"EXP_TYPE": "NRC_GRISM"}, "is a grism exposure"),
        ({"PUPIL": "GRISMR"}, "is a grism exposure (EXP_TYPE=NRC_IMAGE, PUPIL=GRISMR)"),
        ({"PUPIL": "GRISMC"}, "is a grism exposure"),
        ({"EXP_TYPE": "NRC_CORON"}, "card EXP_TYPE: found 'NRC_CORON', expected NRC_IMAGE"),
        ({"PUPIL": "MASKRND"}, "with PUPIL='MASKRND' is not an imaging passband"),
        ({"FILTER": "F999W"}, "FILTER='F999W' with PUPIL='CLEAR' is not an imaging passband"),
        ({"FILTER": "F150W", "PUPIL": "F162M"}, "with PUPIL='F162M' is not an imaging passband"),
    ],
)
def test_other_data(tmp_path: Path, cards: dict[str, str], message: str) -> None:
    path = write_image(tmp_path / "a_cal.fits", primary=cards)
    assert message in refusal(path, UnsupportedDataError)


@pytest.mark.parametrize(
    ("name", "primary", "bunit", "message"),
    [
        (
            "a_uncal.fits",
            {"DATAMODL": "Level1bModel", "CRDS_CTX": None},
            "DN",
            "is uncal without CRDS_CTX",
        ),
        ("a_uncal.fits", {"CRDS_CTX": None}, "DN", "is uncal without CRDS_CTX"),
        ("a_uncal.fits", {"DATAMODL": "Level1bModel"}, "DN", "is uncal, not photometrically"),
        ("a_ramp.fits", {"DATAMODL": "RampModel"}, "DN", "is ramp, not photometrically"),
        (
            "a_rate.fits",
            {},
            "DN/s",
            "is rate, not photometrically calibrated (S_PHOTOM=missing, BUNIT=DN/s",
        ),
        ("a_rateints.fits", {"DATAMODL": "CubeModel"}, "DN/s", "is rateints, not photometrically"),
        ("b.fits", {"S_PHOTOM": "SKIPPED"}, "DN/s", "is rate, not photometrically"),
        ("b.fits", {"S_PHOTOM": "SKIPPED"}, "MJy/sr", "is an image, not photometrically"),
    ],
)
def test_uncalibrated_data(
    tmp_path: Path, name: str, primary: dict[str, str | None], bunit: str, message: str
) -> None:
    path = write_image(
        tmp_path / name,
        primary={"S_PHOTOM": None, **primary},
        science={"BUNIT": bunit, "PHOTMJSR": None},
    )
    assert message in refusal(path, UnsupportedDataError)


def test_photom_state_may_be_missing_where_its_effect_is_seen(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits", primary={"S_PHOTOM": None})
    assert read(path).photmjsr == 2.333


def test_broken_files(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    whole = path.read_bytes()
    end = read_headers(path).units[-1].data_end
    for content, message in (
        (whole[: end - 1], "truncated: HDU 2 (DQ)"),
        (whole[:3000], "truncated"),
        (b"hello", "is not FITS"),
        (b"", "is not FITS (it is empty, 0 bytes)"),
    ):
        path.write_bytes(content)
        assert message in refusal(path, FileFormatError)
