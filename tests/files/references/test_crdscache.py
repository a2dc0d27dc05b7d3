"""A CRDS cache read without the crds package: the file that a context takes, or why none.

The texts are those of mappings as CRDS writes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from calreg.domain import Pmap
from calreg.errors import FileFormatError, UnknownKeyError
from calreg.export.references import matching_keys
from calreg.files.references.crdscache import DETECTOR, EXPOSURE_TYPE, FILTER, PUPIL, CrdsCache
from support.crdsfiles import IMAP, NIRCAM, PMAP, RMAPS, CacheMaker, write_mapping

if TYPE_CHECKING:
    from pathlib import Path

PMAP_KEY = Pmap.parse(PMAP)
IMAGE = {DETECTOR: "NRCA1", EXPOSURE_TYPE: "NRC_IMAGE"}
FLIGHT = datetime(2023, 1, 6, 8, 0, tzinfo=UTC)


@pytest.fixture
def maker(tmp_path: Path) -> CacheMaker:
    """Return a cache with entries, and without files."""
    made = CacheMaker(tmp_path / "crds")
    for name, array in NIRCAM.arrays.items():
        made.add_entry("PHOTOM", (array.detector, "NRC_IMAGE|NRC_TSIMAGE"), f"p_{name}.fits")
    made.add_entry("PHOTOM", ("NRCALONG", "NRC_WFSS|NRC_TSGRISM"), "p_grism.fits")
    made.add_entry("FLAT", ("NRCALONG", "F444W", "CLEAR"), "f_444.fits")
    made.add_entry("FLAT", ("NRCALONG", "F444W", "F470N"), "f_470.fits")
    made.write_mappings()
    return made


def find(maker: CacheMaker, keys: dict[str, str], moment: datetime = FLIGHT) -> str:
    reftype = "FLAT" if FILTER in keys else "PHOTOM"
    return CrdsCache(maker.path).reference_name(PMAP_KEY, reftype, keys, moment, NIRCAM)


def test_every_detector_has_its_own_file(maker: CacheMaker) -> None:
    for name, array in NIRCAM.arrays.items():
        assert find(maker, {**IMAGE, DETECTOR: array.detector}) == f"p_{name}.fits"
    assert find(maker, {DETECTOR: "NRCALONG", EXPOSURE_TYPE: "NRC_WFSS"}) == "p_grism.fits"


def test_flats_are_matched_by_filter_and_pupil(maker: CacheMaker) -> None:
    keys = {DETECTOR: "NRCALONG", FILTER: "F444W", PUPIL: "CLEAR"}
    assert find(maker, keys) == "f_444.fits"
    assert find(maker, {**keys, PUPIL: "F470N"}) == "f_470.fits"
    with pytest.raises(UnknownKeyError, match=r"flat_0060\.rmap: no entry for NRCALONG F356W"):
        find(maker, {**keys, FILTER: "F356W"})


def test_the_latest_use_after_that_is_not_after_the_exposure(maker: CacheMaker) -> None:
    key = ("NRCA1", "NRC_IMAGE|NRC_TSIMAGE")
    maker.entries["PHOTOM"][key]["2023-01-06 08:00:00"] = "p_new.fits"
    maker.write_mappings()
    assert find(maker, IMAGE) == "p_new.fits"
    assert find(maker, IMAGE, datetime(2023, 1, 6, 7, 59, 59, tzinfo=UTC)) == "p_nrca1.fits"
    assert find(maker, IMAGE, datetime(2022, 5, 31, tzinfo=UTC)) == "jwst_nircam_photom_0001.fits"
    with pytest.raises(UnknownKeyError, match="no file for NRCA1 NRC_IMAGE at 1899"):
        find(maker, IMAGE, datetime(1899, 1, 1, tzinfo=UTC))


def test_wild_cards_match_less_closely(maker: CacheMaker) -> None:
    for wild in ("N/A", "*", "ANY"):
        maker.entries["PHOTOM"] = {
            ("NRCA1", wild): {"1900-01-01 00:00:00": "wild.fits"},
            ("NRCA1", "NRC_TSIMAGE"): {"1900-01-01 00:00:00": "series.fits"},
        }
        maker.write_mappings()
        assert find(maker, IMAGE) == "wild.fits"
        assert find(maker, {**IMAGE, EXPOSURE_TYPE: "NRC_TSIMAGE"}) == "series.fits"


REFUSED: dict[str, tuple[dict[tuple[str, ...], dict[str, str]], str]] = {
    "two equal matches": (
        {("NRCA1", "NRC_IMAGE"): {"1900": "a"}, ("NRCA1", "NRC_IMAGE|NRC_FOCUS"): {"1900": "b"}},
        "2 equal matches for NRCA1 NRC_IMAGE, which calreg cannot follow",
    ),
    "another number of keys": ({("NRCA1",): {"1900": "a"}}, "a match of 1 values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_certain_is_refused(case: str, maker: CacheMaker) -> None:
    entries, message = REFUSED[case]
    maker.entries["PHOTOM"] = dict(entries)
    maker.write_mappings()
    with pytest.raises(FileFormatError, match=message) as caught:
        find(maker, IMAGE)
    assert "--parent" in str(caught.value)


def test_a_key_that_is_not_known_is_refused(maker: CacheMaker) -> None:
    """A mapping that selects by the subarray, which nobody asked with."""
    header = {"parkey": ((DETECTOR, "META.SUBARRAY.NAME"), ("META.OBSERVATION.DATE",))}
    selector = "Match({('NRCA1', 'SUB160') : UseAfter({'1900-01-01 00:00:00' : 'a.fits'})})"
    write_mapping(maker.mappings / RMAPS["PHOTOM"], header, selector)
    with pytest.raises(FileFormatError, match=r"a choice by META\.SUBARRAY\.NAME"):
        find(maker, IMAGE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("header = {", "not a CRDS mapping"),
        ("header = {}\n", "no header and selector"),
        ("header = {}\nselector = Match(open('x'))\n", "not a CRDS mapping"),
        ("header = {}\nselector = {'PHOTOM': exit()}\n", "not a CRDS mapping"),
        ("header = {}\nselector = UseAfter({'1900-01-01 00:00:00': 'a'})\n", "no Match"),
    ],
)
def test_what_is_no_mapping_is_refused_and_never_run(
    text: str, message: str, maker: CacheMaker
) -> None:
    (maker.mappings / RMAPS["PHOTOM"]).write_text(text)
    with pytest.raises(FileFormatError, match=message):
        find(maker, IMAGE)


def test_missing_mappings_are_named(maker: CacheMaker) -> None:
    (maker.mappings / IMAP).unlink()
    with pytest.raises(FileFormatError, match=rf"{IMAP}: No such file .* sync it"):
        find(maker, IMAGE)
    assert not CrdsCache(maker.path).has_context(Pmap(1200))


def test_flats_that_are_matched_by_the_type_of_exposure_too(maker: CacheMaker) -> None:
    names = (DETECTOR, FILTER, PUPIL, EXPOSURE_TYPE)
    header = {"parkey": (names, ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"))}
    lines = [
        f"('NRCALONG', 'F444W', 'CLEAR', {kind!r}) : UseAfter({{'1900-01-01 00:00:00' : {name!r}}})"
        for kind, name in (("NRC_IMAGE|NRC_TSIMAGE", "image.fits"), ("NRC_WFSS", "grism.fits"))
    ]
    write_mapping(maker.mappings / RMAPS["FLAT"], header, f"Match({{{', '.join(lines)}}})")
    keys = matching_keys(NIRCAM.arrays["nrcalong"], NIRCAM, NIRCAM.bands["F444W"])
    assert find(maker, keys) == "image.fits"


def test_a_type_that_a_context_does_not_have(maker: CacheMaker) -> None:
    with pytest.raises(UnknownKeyError, match="no entry for AREA"):
        CrdsCache(maker.path).rmap_name(PMAP_KEY, "AREA", NIRCAM)


def test_files_are_found_by_instrument_or_flat(maker: CacheMaker) -> None:
    cache = CrdsCache(maker.path)
    assert cache.file_of("p_nrca1.fits", NIRCAM) is None
    flat = maker.references.parent / "p_nrca1.fits"
    flat.write_bytes(b"x")
    assert cache.file_of("p_nrca1.fits", NIRCAM) == flat
    inner = maker.references / "p_nrca1.fits"
    inner.write_bytes(b"x")
    assert cache.file_of("p_nrca1.fits", NIRCAM) == inner
