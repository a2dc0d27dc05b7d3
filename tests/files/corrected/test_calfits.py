"""Exposures corrected and restored: pixels, cards, ASDF tree, checksums, and what is refused."""

from __future__ import annotations

import hashlib
import io
import warnings
from functools import partial
from typing import TYPE_CHECKING

import asdf
import numpy as np
import pytest
from astropy.io import fits

from calreg.errors import (
    CalregError,
    FileFormatError,
    HeaderValueError,
    MissingKeywordError,
    OutputError,
    UnsupportedDataError,
)
from calreg.files.corrected.exposure import CalFile, read_cal_file
from calreg.files.corrected.rewrite import (
    NewFile,
    Written,
    require_restorable,
    write_corrected,
    write_in_order,
    write_restored,
)
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import CorrectionRecord, read_record
from calreg.instruments import load_instrument
from support.calimages import SHAPE
from support.correctedfiles import (
    PHOTMJSR,
    PHOTUJA2,
    SCALED,
    correction_record,
    expected_factor,
    photometry_tree,
    pixels_of,
    raw_headers,
    tree_of,
    ulps,
    write_exposure,
)

if TYPE_CHECKING:
    from pathlib import Path

    from support.fitsimages import CardTable

HALF_ULP = 2.0**-24
REAL_EXPOSURE = "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"


def read(path: Path) -> CalFile:
    return read_cal_file(path, load_instrument("nircam"))


def correct(path: Path, record: CorrectionRecord, target: Path | None = None) -> Written:
    return write_corrected(read(path), target or path, record, ["a line of history " * 6]).named()


def refusal(path: Path, error: type[CalregError]) -> str:
    """Return the one line of the error that looking at a file must raise."""
    with pytest.raises(error) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_gradient", [True, False])
def test_planes_are_multiplied_by_the_definition(tmp_path: Path, *, has_gradient: bool) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    before = pixels_of(path)
    record = correction_record() if has_gradient else correction_record(0.97, None)
    correct(path, record)
    after = pixels_of(path)
    factor = expected_factor(record)
    assert np.ptp(factor) > 1e-3 or not has_gradient
    for name, power in SCALED.items():
        # One rounding to single precision.
        np.testing.assert_allclose(
            after[name], before[name].astype(np.float64) * factor**power, rtol=HALF_ULP * 1.01
        )
        assert after[name].dtype == before[name].dtype == np.dtype(">f4")
    for name in ("DQ", "AREA"):
        np.testing.assert_array_equal(after[name], before[name])
    assert np.isnan(after["SCI"][3, 5])
    assert after["SCI"][4, 6] < 0.0


def test_a_full_array_has_a_mean_flat_of_one(tmp_path: Path) -> None:
    """The gradient leaves the mean alone: what is constant is in PHOTMJSR."""
    size: CardTable = {
        "SUBARRAY": "FULL",
        "SUBSTRT1": 1,
        "SUBSTRT2": 1,
        "SUBSIZE1": 2048,
        "SUBSIZE2": 2048,
    }
    ones = np.ones((2048, 2048), dtype=np.float32)
    others = dict.fromkeys(("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "DQ", "AREA"), None)
    path = write_exposure(
        tmp_path / "a_cal.fits", planes={"SCI": ones, **others}, primary=size, has_tree=False
    )
    record = correction_record()
    correct(path, record)
    inverse = 1.0 / pixels_of(path)["SCI"].astype(np.float64)
    assert inverse.mean() * record.photom_factor == pytest.approx(1.0, rel=1e-9)
    assert inverse.std() > 1e-3


def test_double_precision_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    sci = rng.standard_normal(SHAPE)
    path = write_exposure(tmp_path / "a_cal.fits", planes={"SCI": sci})
    record = correction_record()
    correct(path, record)
    after = pixels_of(path)["SCI"]
    assert after.dtype == np.dtype(">f8")
    np.testing.assert_allclose(after, sci * expected_factor(record), rtol=1e-15)
    write_restored(read(path), path).named()
    np.testing.assert_allclose(pixels_of(path)["SCI"], sci, rtol=1e-15)


def test_cubes_are_corrected_image_by_image(tmp_path: Path) -> None:
    cube = np.stack([np.full(SHAPE, value, dtype=np.float32) for value in (1.0, 2.0, 3.0)])
    others = dict.fromkeys(("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "DQ", "AREA"), None)
    path = write_exposure(tmp_path / "a_calints.fits", planes={"SCI": cube, **others})
    record = correction_record()
    correct(path, record)
    expected = cube * expected_factor(record)
    np.testing.assert_allclose(pixels_of(path)["SCI"], expected, rtol=HALF_ULP * 1.01)


def test_a_pixel_that_becomes_too_large(tmp_path: Path) -> None:
    planes = {"VAR_POISSON": np.full(SHAPE, 3.4e38, dtype=np.float32)}
    path = write_exposure(tmp_path / "a_cal.fits", planes=dict(planes))
    content = path.read_bytes()
    with pytest.raises(UnsupportedDataError, match="VAR_POISSON: a pixel becomes too large"):
        correct(path, correction_record())
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


# --- cards and tree -------------------------------------------------------------------------------


def test_the_cards_of_a_corrected_file(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    headers_before = raw_headers(path)
    record = correction_record()
    written = correct(path, record)
    assert written.sha256_before == digest
    assert written.sha256_restored is None
    assert written.sha256_after == hashlib.sha256(path.read_bytes()).hexdigest()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path) as hdus:
            hdus.verify("exception")
            primary, science = hdus[0].header, hdus["SCI"].header
    assert primary["CALREGID"] == record.set_id
    assert primary["CALREGDM"] == "B"
    assert primary["CALREGVR"] == "0.1.0"
    assert primary["CALREGBF"] == digest
    history = [str(line) for line in primary["HISTORY"]]
    assert all(line.startswith("calreg: ") for line in history)
    assert " ".join(line[8:].strip() for line in history) == ("a line of history " * 6).strip()
    assert science["PHOTMJSR"] == PHOTMJSR * record.photom_factor
    assert science["PHOTUJA2"] == PHOTUJA2 * record.photom_factor
    carried = read_record(read_headers(path))
    assert carried is not None
    assert carried.sha256_before == digest
    assert carried.photom_factor == record.photom_factor
    assert carried.gradient == record.gradient
    # Cards that say nothing of photometry are what and where they were.
    for before, after in zip(headers_before, raw_headers(path), strict=True):
        kept = [before[i : i + 80] for i in range(0, len(before.rstrip()) - 3, 80)]
        changed = (b"PHOTMJSR", b"PHOTUJA2", b"NAXIS1  ", b"TFORM1  ")
        for place, card in enumerate(kept):
            found = after[80 * place : 80 * place + 80]
            assert found[:8] == card[:8]
            assert found == card or card[:8] in changed


@pytest.mark.parametrize("photmjsr", [PHOTMJSR, 0.5, 1.0 / 3.0])
def test_the_tree_follows_the_header(tmp_path: Path, photmjsr: float) -> None:
    """Numbers of any length: the blocks behind the tree move, their index with them."""
    path = write_exposure(
        tmp_path / "a_cal.fits",
        science={"PHOTMJSR": photmjsr},
        asdf_tree=photometry_tree(photmjsr),
    )
    before = tree_of(path)
    record = correction_record(1.1, None)
    correct(path, record)
    with asdf.open(io.BytesIO(tree_of(path)), lazy_load=False) as tree:
        photometry = tree["meta"]["photometry"]
        assert photometry["conversion_megajanskys"] == photmjsr * 1.1
        assert photometry["conversion_microjanskys"] == PHOTUJA2 * 1.1
        assert photometry["pixelarea_steradians"] == 2.29e-14
        np.testing.assert_array_equal(tree["meta"]["coefficients"], np.arange(100.0))
        assert tree["meta"]["target"] == "\u03b1"
    write_restored(read(path), path).named()
    assert tree_of(path) == before


def test_checksums_fit(tmp_path: Path) -> None:
    given = write_exposure(tmp_path / "given_cal.fits")
    path = tmp_path / "a_cal.fits"
    with fits.open(given) as hdus:
        hdus.writeto(path, checksum=True)
    before = raw_headers(path)
    correct(path, correction_record())
    for expected in (None, before):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # astropy warns of a checksum that does not fit
            with fits.open(path, checksum=True, memmap=False) as hdus:
                assert all(hdu.header["CHECKSUM"] for hdu in hdus)
                assert [hdu.data is None for hdu in hdus].count(True) == 1
        if expected is None:
            write_restored(read(path), path).named()
    # Pixels that differ in the last digit have another sum; all other headers are as they were.
    for name, old, new in zip(
        ("PRIMARY", *pixels_of(path)), before, raw_headers(path), strict=False
    ):
        if name not in SCALED:
            assert new == old


# --- and back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("photom_factor", [1.012045, 0.9534, 1.0, 1.37])
def test_restored_files_are_what_they_were(tmp_path: Path, photom_factor: float) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    before, headers, tree = pixels_of(path), raw_headers(path), tree_of(path)
    for _ in range(3):
        correct(path, correction_record(photom_factor))
        assert raw_headers(path) != headers
        write_restored(read(path), path).named()
        assert raw_headers(path) == headers
        assert tree_of(path) == tree
    after = pixels_of(path)
    for name in SCALED:
        finite = np.isfinite(before[name])
        # One unit for each of the three rounds, at most.
        assert ulps(before[name][finite], after[name][finite]) <= 3
    np.testing.assert_array_equal(np.isnan(after["SCI"]), np.isnan(before["SCI"]))
    for name in ("DQ", "AREA"):
        np.testing.assert_array_equal(after[name], before[name])


def test_once_there_and_back_is_one_unit_at_most(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    wide = (10.0 ** rng.uniform(-30, 30, SHAPE) * rng.choice([-1, 1], SHAPE)).astype(np.float32)
    path = write_exposure(tmp_path / "a_cal.fits", planes={"SCI": wide})
    correct(path, correction_record())
    write_restored(read(path), path).named()
    assert ulps(pixels_of(path)["SCI"], wide) <= 1


def test_the_identity_changes_no_byte_of_the_pixels(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    content = path.read_bytes()
    correct(path, correction_record(1.0, None))
    units = read_headers(path).units
    assert fits.getval(path, "CALREGPF") == 1.0
    assert fits.getval(path, "PHOTMJSR", "SCI") == PHOTMJSR
    data = [path.read_bytes()[unit.data_start : unit.data_end] for unit in units[1:]]
    assert all(block in content for block in data)
    write_restored(read(path), path).named()
    assert path.read_bytes() == content


def test_a_second_correction_takes_the_place_of_the_first(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    fresh = tmp_path / "b_cal.fits"
    fresh.write_bytes(path.read_bytes())
    second = correction_record(0.981, None)
    correct(path, correction_record())
    written = correct(path, second)
    assert written.sha256_restored is not None
    correct(fresh, second)
    once, twice = pixels_of(fresh), pixels_of(path)
    for name in SCALED:
        finite = np.isfinite(once[name])
        # A pixel that came back one unit off is one or two units off after the second correction.
        assert ulps(once[name][finite], twice[name][finite]) <= 2
    own = (b"CALREGBF", b"CALREGAP")
    for first, other in zip(raw_headers(fresh), raw_headers(path), strict=True):
        cards = [
            [raw[i : i + 80] for i in range(0, len(raw), 80) if raw[i : i + 8] not in own]
            for raw in (first, other)
        ]
        assert cards[0] == cards[1]


def test_another_target_leaves_the_file_alone(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    content = path.read_bytes()
    target = tmp_path / "out_cal.fits"
    correct(path, correction_record(), target)
    assert path.read_bytes() == content
    assert read(target).record is not None
    with pytest.raises(OutputError, match="exists"):
        correct(path, correction_record(), target)


def test_a_file_that_somebody_else_writes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    cal = read(path)
    other = path.read_bytes()[:-2880]
    original = CorrectionRecord.cards

    def interfere(record: CorrectionRecord) -> list[bytes]:
        path.write_bytes(other)
        return original(record)

    monkeypatch.setattr(CorrectionRecord, "cards", interfere)
    with pytest.raises(OutputError, match="changed by another program meanwhile"):
        write_corrected(cal, path, correction_record(), []).named()
    assert path.read_bytes() == other


def test_a_file_that_was_calibrated_again_is_not_restored(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    correct(path, correction_record())
    fits.setval(path, "PHOTMJSR", value=2.5, extname="SCI")
    with pytest.raises(HeaderValueError, match=r"PHOTMJSR: found 2.5, expected 2\.3611"):
        require_restorable(read(path))


@pytest.mark.parametrize(
    ("card", "words"),
    [("CALREGPF", "card CALREGPF: found nothing"), ("CALREGGX", "card CALREGGX: found nothing")],
)
def test_damaged_cards_of_a_correction(tmp_path: Path, card: str, words: str) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    correct(path, correction_record())
    fits.delval(path, card)
    assert words in refusal(path, HeaderValueError)


def test_a_correction_whose_old_cards_are_lost(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    correct(path, correction_record())
    fits.delval(path, "CALREGO1", extname="SCI")
    with pytest.raises(HeaderValueError, match=r"no card CALREGO\* keeps what PHOTMJSR was"):
        require_restorable(read(path))


def test_files_behind_one_that_fails_stay_as_they_were(tmp_path: Path) -> None:
    paths = [write_exposure(tmp_path / f"{name}_cal.fits") for name in "abcd"]
    before = [path.read_bytes() for path in paths]

    def writer(path: Path) -> NewFile:
        if path is paths[1]:
            raise OutputError(path.name)
        return write_corrected(read(path), path, correction_record(), [])

    done: list[Written] = []
    with pytest.raises(OutputError, match=r"b_cal\.fits"):
        done += write_in_order(partial(writer, path) for path in paths)
    assert [path.read_bytes() == content for path, content in zip(paths, before, strict=True)] == [
        False, True, True, True
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == paths


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primary", "science", "words"),
    [
        ({"S_RESAMP": "COMPLETE"}, {}, "is a mosaic (i2d)"),
        ({"S_PHOTOM": None}, {"BUNIT": "DN/s", "PHOTMJSR": None}, "is rate"),
        ({"DATAMODL": "Level1bModel"}, {"BUNIT": "DN", "PHOTMJSR": None}, "is uncal"),
        ({"PUPIL": "GRISMR", "EXP_TYPE": "NRC_WFSS"}, {}, "is a grism exposure"),
    ],
)
def test_kinds_that_are_refused(
    tmp_path: Path,
    primary: dict[str, str | float | None],
    science: dict[str, str | float | None],
    words: str,
) -> None:
    path = write_exposure(tmp_path / "a.fits", primary=dict(primary), science=dict(science))
    assert words in refusal(path, UnsupportedDataError)


def test_photom_that_did_nothing_is_refused(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits", science={"PHOTMJSR": None})
    assert "did nothing" in refusal(path, HeaderValueError)


@pytest.mark.parametrize(
    ("planes", "words"),
    [
        ({"ERR": np.zeros((3, 4), np.float32)}, "extension ERR has 4 x 3 pixels, SCI 48 x 40"),
        ({"VAR_FLAT": np.zeros(SHAPE, np.int16)}, "extension VAR_FLAT: found BITPIX=16"),
    ],
)
def test_planes_that_are_refused(
    tmp_path: Path, planes: dict[str, np.ndarray | None], words: str
) -> None:
    path = write_exposure(tmp_path / "a_cal.fits", planes=planes)
    assert words in refusal(path, UnsupportedDataError)


def test_compressed_images_are_refused(tmp_path: Path) -> None:
    given = write_exposure(tmp_path / "given_cal.fits")
    path = tmp_path / "a_cal.fits"
    with fits.open(given) as hdus:
        packed = [
            fits.CompImageHDU(hdu.data, hdu.header, name="SCI") if hdu.name == "SCI" else hdu
            for hdu in hdus
        ]
        fits.HDUList(packed).writeto(path)
    assert "extension SCI is a BINTABLE, a compressed image" in refusal(path, UnsupportedDataError)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"data": np.zeros((4, 4)), "meta": {}}, "its 'data' is not a reference to an HDU"),
        ({"data": {"source": 0}, "meta": {}}, "its 'data' is not a reference to an HDU"),
    ],
)
def test_trees_that_hold_pixels_are_refused(
    tmp_path: Path, tree: dict[str, object], words: str
) -> None:
    path = write_exposure(tmp_path / "a_cal.fits", asdf_tree=tree)
    assert words in refusal(path, FileFormatError)


def test_a_damaged_tree_is_refused(tmp_path: Path) -> None:
    path = write_exposure(tmp_path / "a_cal.fits")
    content = path.read_bytes()
    place = content.index(b"meta:")
    path.write_bytes(content[:place] + b"]]]]:" + content[place + 5 :])
    assert "extension ASDF cannot be changed" in refusal(path, FileFormatError)


@pytest.mark.parametrize(
    ("primary", "error", "words"),
    [
        ({"SUBSTRT1": None}, MissingKeywordError, "card SUBSTRT1 is missing"),
        ({"SUBSIZE2": 2048}, UnsupportedDataError, "a cut-out, whose place"),
        ({"SUBSTRT2": 2020}, HeaderValueError, "card SUBSTRT2: found 2020 with 40 pixels"),
    ],
)
def test_where_a_gradient_has_no_place(
    tmp_path: Path, primary: dict[str, int | None], error: type[CalregError], words: str
) -> None:
    path = write_exposure(tmp_path / "a_cal.fits", primary=dict(primary))
    with pytest.raises(error, match=words):
        correct(path, correction_record())
    correct(path, correction_record(gradient=None))  # The place does not matter.
    assert read(path).record is not None


# --- a real file ----------------------------------------------------------------------------------


def test_the_real_cutout_there_and_back(shared_data: Path, tmp_path: Path) -> None:
    given = shared_data / REAL_EXPOSURE
    path = tmp_path / "cutout_cal.fits"
    path.write_bytes(given.read_bytes())
    record = correction_record(gradient=None)
    with pytest.raises(UnsupportedDataError, match="a cut-out, whose place"):
        correct(path, correction_record())
    correct(path, record)
    before, after = pixels_of(given), pixels_of(path)
    for name, power in SCALED.items():
        np.testing.assert_allclose(
            after[name],
            before[name].astype(np.float64) * record.photom_factor**power,
            rtol=HALF_ULP * 1.01,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arrays that are HDUs
        with asdf.open(io.BytesIO(tree_of(path)), lazy_load=False) as tree:
            found = tree["meta"]["photometry"]["conversion_megajanskys"]
    assert found == fits.getval(path, "PHOTMJSR", "SCI")
    assert found == pytest.approx(0.3925000131130219 * record.photom_factor, rel=1e-15)
    write_restored(read(path), path).named()
    assert raw_headers(path) == raw_headers(given)
    assert tree_of(path) == tree_of(given)
    restored = pixels_of(path)
    for name in SCALED:
        finite = np.isfinite(before[name])
        assert ulps(before[name][finite], restored[name][finite]) <= 1
