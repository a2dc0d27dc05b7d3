from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from calreg.db.queries.zeropoints import StoredZeroPoint
from calreg.domain import Exposure, Pmap, ZeroPointKind
from calreg.errors import InvalidValueError
from calreg.files.images.exposures import read_exposure
from calreg.instruments import load_instrument
from calreg.pixels.mosaic.scales import forced_scale, require_one_scale
from support.mosaicexposures import PHOTMJSR, write_exposure

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = Pmap(1039), Pmap(1130)
COMMAND = "calreg ingest PATH"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Exposure]:
    folder: Path = tmp_path_factory.mktemp("exposures")
    return [
        read_exposure(write_exposure(folder, n), instrument=load_instrument()) for n in range(3)
    ]


def point(
    photmjsr: float, kind: ZeroPointKind = ZeroPointKind.HEADER, **values: str
) -> StoredZeroPoint:
    """Return a zero point of the members' key under the old context."""
    key = {"array": "nrcalong", "filter": "F444W", "pupil": "CLEAR", "subarray": "FULL", **values}
    half_width = 5e-5 if kind is ZeroPointKind.PUBLISHED else 1e-9
    return StoredZeroPoint(
        pmap=OLD,
        photmjsr=photmjsr,
        photmjsr_half_width=half_width,
        pixar_sr=None,
        pixar_half_width_sr=None,
        r_photom="",
        source="test",
        kind=kind,
        file_name="",
        **key,
    )


def test_one_scale(members: list[Exposure]) -> None:
    # The last digits of a float32.
    nearly = [members[0], replace(members[1], photmjsr=PHOTMJSR * (1.0 + 5e-7)), members[2]]
    scale = require_one_scale("group", nearly)
    assert (scale.photmjsr, scale.factors, scale.note) == (PHOTMJSR, (1.0, 1.0, 1.0), "")


def test_a_missing_photmjsr_is_never_a_factor(members: list[Exposure]) -> None:
    without = [replace(member, photmjsr=None) for member in members]
    with pytest.raises(InvalidValueError, match="card PHOTMJSR is missing or empty"):
        require_one_scale("group", without)
    one = [members[0], without[1], members[2]]
    with pytest.raises(InvalidValueError, match=r"mixed PHOTMJSR: 0\.4 in .*; none in "):
        require_one_scale("group", one)
    with pytest.raises(InvalidValueError, match=r"00002_nrcalong_cal\.fits: card PHOTMJSR is miss"):
        forced_scale("group", one, OLD, [point(0.3)], COMMAND)


def test_the_registry_knows_the_forced_context(members: list[Exposure]) -> None:
    scale = forced_scale("group", members, OLD, [point(0.3)], COMMAND)
    assert (scale.photmjsr, scale.factors, scale.note) == (0.3, (0.3 / PHOTMJSR,) * 3, "")


def test_exposures_of_the_forced_context_come_first(members: list[Exposure]) -> None:
    mixed = [members[0], replace(members[1], pmap=OLD, photmjsr=0.32), members[2]]
    scale = forced_scale("group", mixed, OLD, [point(0.3)], COMMAND)
    assert scale.photmjsr == 0.32
    assert scale.factors == (0.32 / PHOTMJSR, 1.0, 0.32 / PHOTMJSR)


@pytest.mark.parametrize(
    ("known", "photmjsr"),
    [
        ([point(0.31, ZeroPointKind.PUBLISHED), point(0.3)], 0.3),
        ([point(0.31, ZeroPointKind.PUBLISHED), point(0.3, ZeroPointKind.TABLE)], 0.3),
        ([point(0.3, ZeroPointKind.TABLE, subarray="")], 0.3),
        ([point(0.3), point(0.3 * (1.0 + 5e-7))], 0.3),
        ([point(0.3), point(0.2, array="nrcblong"), point(0.1, subarray="SUB640")], 0.3),
    ],
    ids=["header", "photom file", "any subarray", "rounding", "other keys"],
)
def test_which_value_counts(
    members: list[Exposure], known: list[StoredZeroPoint], photmjsr: float
) -> None:
    assert forced_scale("group", members, OLD, known, COMMAND).photmjsr == photmjsr


def test_a_published_value_is_told(members: list[Exposure]) -> None:
    known = [point(0.3, ZeroPointKind.PUBLISHED)]
    note = forced_scale("group", members, OLD, known, COMMAND).note
    assert note == (
        "group: PHOTMJSR of nrcalong F444W FULL under jwst_1039.pmap is a published value, known "
        "to 1.7e-04 of itself"
    )


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ([], r"is not known: ingest an exposure of that context \(calreg ingest PATH\)"),
        ([point(0.3, ZeroPointKind.TIMED)], "is not known"),
        ([point(0.3, filter="F356W")], "is not known"),
        ([point(0.3), point(0.31)], r"has several values in the registry \(0\.3, 0\.31\)"),
    ],
)
def test_unknown_or_ambiguous(
    members: list[Exposure], known: list[StoredZeroPoint], reason: str
) -> None:
    with pytest.raises(InvalidValueError, match=reason):
        forced_scale("group", members, OLD, known, COMMAND)


def test_pixel_areas_of_one_context(members: list[Exposure]) -> None:
    area = members[0].pixar_sr
    assert area is not None
    mixed = [members[0], replace(members[1], pixar_sr=2.0 * area), members[2]]
    with pytest.raises(InvalidValueError, match="mixed PIXAR_SR"):
        forced_scale("group", mixed, NEW, [], COMMAND)
    # Contexts may differ in it: their PHOTMJSR does, too.
    apart = [members[0], replace(mixed[1], pmap=OLD, photmjsr=0.2), members[2]]
    assert forced_scale("group", apart, NEW, [], COMMAND).factors == (1.0, 2.0, 1.0)
