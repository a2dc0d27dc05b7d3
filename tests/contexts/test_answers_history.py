"""How an offset moved from context to context, beside PHOTMJSR."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.errors import InvalidValueError, UnknownKeyError
from calreg.simulation.programme import TrueCoefficients
from support.programmes import PMAP, Files, small_programme, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from calreg.contexts.history import HistoryRow

TRUE_OFFSETS = {
    "jwst_0999.pmap": 0.05,
    "jwst_1000.pmap": 0.02,
    "jwst_1130.pmap": 0.02,
    "jwst_10000.pmap": -0.01,
}


@pytest.fixture(scope="module")
def four_contexts(tmp_path_factory: pytest.TempPathFactory) -> Files:
    truth = [
        TrueCoefficients(pmap, "F444W", "long", offset, 0.004)
        for pmap, offset in TRUE_OFFSETS.items()
    ]
    programme = small_programme(
        7, bands=("F444W",), pmaps=tuple(TRUE_OFFSETS), truth=truth, n_epochs=2
    )
    return write_files(programme, tmp_path_factory.mktemp("contexts"))


@pytest.fixture
def registry(db_url: str, four_contexts: Files) -> Iterator[Registry]:
    with Registry(db_url) as opened:
        # The last context first: order is the integer's, not that of ingest or of text.
        for pmap in reversed(TRUE_OFFSETS):
            opened.ingest(four_contexts.select(pmap=pmap))
        opened.refit()
        yield opened


def test_one_row_per_context_in_integer_order(registry: Registry, four_contexts: Files) -> None:
    rows = registry.history("f444w", "nrcalong")
    assert [row.pmap for row in rows] == list(TRUE_OFFSETS)
    assert {(row.band, row.array_id, row.field) for row in rows} == {("F444W", "long", "JWIDF")}
    programme = four_contexts.programme
    for row, offset in zip(rows, TRUE_OFFSETS.values(), strict=True):
        assert row.offset_ab_mag is not None
        assert row.offset_ab_err_mag is not None
        assert row.offset_ab_mag == pytest.approx(offset, abs=4.0 * row.offset_ab_err_mag)
        assert (
            row.photmjsr_a == programme.mosaic(row.pmap, "F444W", "nrcalong", 1).members[0].photmjsr
        )
        assert (
            row.photmjsr_b == programme.mosaic(row.pmap, "F444W", "nrcblong", 1).members[0].photmjsr
        )
        assert row.note == ""
    # A moved between contexts, B did not.
    assert len({row.photmjsr_a for row in rows}) == 3
    assert len({row.photmjsr_b for row in rows}) == 1
    by_pmap = {row.pmap: row for row in registry.coefficients()}
    assert [row.set_id for row in rows] == [by_pmap[row.pmap].set_id for row in rows]


def test_change_is_the_difference_with_both_errors(registry: Registry) -> None:
    rows = registry.history("F444W", "long")
    first = rows[0]
    assert (first.change_mag, first.change_err_mag, first.change_sigma) == (None, None, None)
    for previous, row in pairwise(rows):
        change, err = changed(previous, row)
        assert row.change_mag == pytest.approx(change, abs=1e-15)
        assert row.change_err_mag == pytest.approx(err, rel=1e-12)
        assert row.change_sigma == pytest.approx(change / err, rel=1e-12)
    changes = [row.change_mag for row in rows[1:]]
    # The same photons in every context: the changes are those of the truth, far within the errors.
    assert changes == pytest.approx([-0.03, 0.0, -0.03], abs=1e-4)


def changed(previous: HistoryRow, row: HistoryRow) -> tuple[float, float]:
    assert None not in (previous.offset_ab_mag, row.offset_ab_mag)
    assert None not in (previous.offset_ab_err_mag, row.offset_ab_err_mag)
    change = row.offset_ab_mag - previous.offset_ab_mag  # type: ignore[operator]
    return change, math.hypot(row.offset_ab_err_mag, previous.offset_ab_err_mag)  # type: ignore[arg-type]


def test_change_of_photmjsr_explains_change_of_offset(registry: Registry) -> None:
    """DESIGN, across pmaps: the change is -2.5 log10 of the ratio of ratios of PHOTMJSR."""
    rows = registry.history("F444W", "long")
    for previous, row in pairwise(rows):
        ratios = [
            one.photmjsr_a / one.photmjsr_b  # type: ignore[operator]
            for one in (previous, row)
        ]
        predicted = -2.5 * math.log10(ratios[1] / ratios[0])
        assert row.change_mag == pytest.approx(predicted, abs=1e-4)


def test_measured_beside_predicted(registry: Registry) -> None:
    """PHOTMJSR is all that differs between the simulated contexts, so that nothing is left over."""
    rows = registry.history("F444W", "long")
    assert [row.predicted_from for row in rows] == [
        "jwst_1000.pmap",
        "jwst_0999.pmap",
        "jwst_1000.pmap",
        "jwst_1130.pmap",
    ]
    for row in rows:
        assert row.offset_ab_mag is not None
        assert row.predicted_offset_ab_mag == pytest.approx(row.offset_ab_mag, abs=1e-4)
        assert row.residual_mag == pytest.approx(0.0, abs=1e-4)
        assert row.residual_sigma == pytest.approx(0.0, abs=0.1)
        assert row.candidates == ()


def test_a_range_of_contexts(registry: Registry) -> None:
    everything = registry.history("F444W", "long")
    some = registry.history("F444W", "long", pmap_from="1000", pmap_to="jwst_1130.pmap")
    assert [row.pmap for row in some] == ["jwst_1000.pmap", "jwst_1130.pmap"]
    # The first row of an answer has nothing before it.
    assert some[0].change_mag is None
    assert some[1] == everything[2]
    # A prediction may rest on a context outside the range.
    assert some[0].predicted_from == "jwst_0999.pmap"
    assert [row.pmap for row in registry.history("F444W", "long", pmap_from="2000")] == [
        "jwst_10000.pmap"
    ]
    assert registry.history("F444W", "long", pmap_to="998") == []


def test_questions_that_cannot_be_are_refused(registry: Registry) -> None:
    assert registry.history("F200W", "1") == []
    with pytest.raises(InvalidValueError, match="build"):
        registry.history("F444W", "long", pmap_from="build")
    with pytest.raises(UnknownKeyError, match="7"):
        registry.history("F444W", "7")


def test_contexts_with_images_but_no_fit_have_photmjsr_only(
    db_url: str, four_contexts: Files
) -> None:
    with Registry(db_url) as registry:
        registry.ingest(four_contexts.select(pmap="jwst_0999"))
        registry.ingest(four_contexts.select(pmap="jwst_1130"))
        registry.ingest(four_contexts.select(pmap="jwst_1000", suffix=".fits"))
        registry.refit()
        rows = registry.history("F444W", "long")
    assert [row.offset_ab_mag is None for row in rows] == [False, True, False]
    assert rows[1].field is None
    assert rows[1].photmjsr_a is not None
    assert rows[1].predicted_from == "jwst_0999.pmap"
    assert rows[1].predicted_offset_ab_mag == pytest.approx(rows[2].offset_ab_mag, abs=1e-4)
    # The change is against the last context that was measured.
    assert rows[2].change_mag == pytest.approx(-0.03, abs=1e-4)


def rewritten(paths: list[Path], folder: Path, change: Callable[[bytes], bytes]) -> list[Path]:
    """Copy mosaics with their PHOTMJSR cards changed."""
    folder.mkdir()
    for path in paths:
        content = path.read_bytes()
        for card in set(re.findall(rb"PHOTMJSR= +[0-9.E+-]+", content)):
            other = change(card)
            assert len(other) == len(card)
            content = content.replace(card, other)
        content = content.replace(b"'HDRTAB", b"'OTHERS")  # its members have the old value
        (folder / path.name).write_bytes(content)
    return [folder / path.name for path in paths]


def test_unknown_photmjsr_is_none(db_url: str, four_contexts: Files, tmp_path: Path) -> None:
    mosaics = four_contexts.select(pmap=PMAP, suffix=".fits")
    catalogs = four_contexts.select(pmap=PMAP, suffix=".cat")
    unknown = rewritten(
        [path for path in mosaics if "nrcblong" in path.name],
        tmp_path / "unknown",
        lambda card: card.replace(b"PHOTMJSR", b"XPHOTMJS"),
    )
    with Registry(db_url) as registry:
        report = registry.ingest(
            [path for path in mosaics if "nrcalong" in path.name] + unknown + catalogs
        )
        assert report.refused == []
        registry.refit()
        (row,) = registry.history("F444W", "long")
    assert row.photmjsr_a is not None
    assert row.photmjsr_b is None
    assert row.note == ""


def with_other_epoch_2(
    registry: Registry, files: Files, folder: Path, change: Callable[[bytes], bytes]
) -> HistoryRow:
    mosaics = files.select(pmap=PMAP, epoch=2, suffix=".fits")
    registry.ingest(
        files.select(pmap=PMAP, epoch=1)
        + rewritten(mosaics, folder, change)
        + files.select(pmap=PMAP, epoch=2, suffix=".cat")
    )
    registry.refit()
    (row,) = registry.history("F444W", "long")
    return row


def test_disagreeing_photmjsr_is_noted(db_url: str, four_contexts: Files, tmp_path: Path) -> None:
    with Registry(db_url) as registry:
        row = with_other_epoch_2(
            registry, four_contexts, tmp_path / "other", lambda card: _edited(card, 5)
        )
    assert (row.photmjsr_a, row.photmjsr_b) == (None, None)
    where = "F444W under jwst_1130.pmap: PHOTMJSR disagree: 0."
    assert row.note.startswith(f"nrcalong {where}")
    assert f"nrcblong {where}" in row.note
    values = re.findall(r"0\.\d+", row.note)
    # The values can be told apart as they are printed.
    assert len(values) == len(set(values)) == 4


def test_single_precision_is_no_disagreement(
    db_url: str, four_contexts: Files, tmp_path: Path
) -> None:
    with Registry(db_url) as registry:
        row = with_other_epoch_2(
            registry, four_contexts, tmp_path / "other", lambda card: _edited(card, 9)
        )
    assert row.photmjsr_a == pytest.approx(0.402, rel=1e-3)
    assert row.note == ""


def _edited(card: bytes, place: int) -> bytes:
    """Put another digit in one decimal place of a card's value."""
    at = card.index(b".") + place
    return card[:at] + (b"4" if card[at : at + 1] != b"4" else b"6") + card[at + 1 :]
