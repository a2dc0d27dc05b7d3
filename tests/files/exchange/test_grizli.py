from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import yaml

from calreg.domain import Pmap
from calreg.errors import InvalidValueError, OutputError, UnknownKeyError
from calreg.files.exchange.grizli import GrizliEntry, GrizliGradient, write_grizli
from calreg.instruments import load_instrument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CREATED = datetime(2026, 11, 22, 12, tzinfo=UTC)
A1 = GrizliEntry("NRCA1", "F150W", "CLEAR", 0.012955932617201198, 0.00155, "set-1")
B1 = GrizliEntry("NRCB1", "F150W", "CLEAR", 0.0, 0.0, "set-1")
ALONG = GrizliEntry(
    "NRCALONG",
    "F444W",
    "CLEAR",
    -0.01043,
    0.00064,
    "set-2",
    gradient=GrizliGradient(-0.01654, 0.00433, 1.41),
)
BLONG = GrizliEntry("NRCBLONG", "F444W", "CLEAR", 0.0, 0.0, "set-2")
ENTRIES = (A1, B1, ALONG, BLONG)


def _write(path: Path, entries: Sequence[GrizliEntry] = ENTRIES, *, overwrite: bool = False) -> str:
    written = write_grizli(
        path,
        entries,
        load_instrument(),
        pmap=Pmap(1130),
        code_version="0.1.0",
        created_utc=CREATED,
        overwrite=overwrite,
    )
    assert written == [path]
    return path.read_text(encoding="utf-8")


def test_keys_and_values_are_those_that_grizli_reads(tmp_path: Path) -> None:
    parsed = yaml.safe_load(_write(tmp_path / "out.yml"))
    assert parsed == {
        "CRDS_CTX": "jwst_1130.pmap",
        "CRDS_CTX_MAX": "jwst_1130.pmap",
        "NRCA1-F150W-CLEAR": 10 ** (-0.4 * 0.012955932617201198),
        "NRCB1-F150W-CLEAR": 1.0,
        "NRCALONG-F444W-CLEAR": 10 ** (0.4 * 0.01043),
        "NRCBLONG-F444W-CLEAR": 1.0,
    }
    # Reciprocal of the published script's 1.0120043 for F150W, array 1.
    assert parsed["NRCA1-F150W-CLEAR"] == pytest.approx(0.98813806, abs=1e-7)


def test_the_published_file_has_the_same_kinds_of_keys(shared_data: Path, tmp_path: Path) -> None:
    published = yaml.safe_load((shared_data / "photom_correction.yml").read_text())
    ours = yaml.safe_load(_write(tmp_path / "out.yml"))
    # Its values are all commented out at present; what is left are the two contexts.
    assert set(published) == {"CRDS_CTX", "CRDS_CTX_MAX"}
    assert set(published) < set(ours)
    assert all(type(published[key]) is type(ours[key]) for key in published)
    assert "# NRCA1-F150W-CLEAR: " in (shared_data / "photom_correction.yml").read_text()


def test_dividing_brightens_an_array_that_reads_too_faint(tmp_path: Path) -> None:
    parsed = yaml.safe_load(_write(tmp_path / "out.yml"))
    flux_b = 100.0
    flux_a = flux_b * 10 ** (-0.4 * A1.offset_mag)
    assert A1.offset_mag > 0
    assert flux_a < flux_b
    assert flux_a / parsed["NRCA1-F150W-CLEAR"] == pytest.approx(flux_b, rel=1e-14)
    assert flux_b / parsed["NRCB1-F150W-CLEAR"] == flux_b
    assert parsed["NRCALONG-F444W-CLEAR"] > 1.0


def test_the_header_states_direction_sign_datum_and_sets(tmp_path: Path) -> None:
    text = _write(tmp_path / "out.yml")
    header = text[: text.index("# ----")]
    for words in (
        "*divide* the images (SCI and ERR) by these values",
        "value = 10**(-0.4*offset)",
        "Offset > 0 mag means that the array reads too faint",
        "m_A - m_B",
        "Datum (held at zero, value 1.0): B",
        "set-1",
        "set-2",
        "calreg 0.1.0",
        "2026-11-22T12:00:00Z",
    ):
        assert words in header


def test_a_gradient_is_told_beside_its_entry(tmp_path: Path) -> None:
    lines = _write(tmp_path / "out.yml").splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("NRCALONG-F444W-CLEAR"))
    assert lines[at - 2] == "# offset -0.01043 +/- 0.00064 mag, set set-2"
    assert lines[at - 1] == (
        "# gradient not in the value, which holds at the pivot d = +1.4100 arcmin: "
        "offset -0.01654 mag at d = 0, slope +0.00433 mag/arcmin"
    )
    assert sum("gradient" in line for line in lines) == 1


def test_order_of_entries_does_not_matter(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.yml")
    two = _write(tmp_path / "two.yml", ENTRIES[::-1])
    assert one == two
    keys = [line.split(":")[0] for line in one.splitlines() if line.startswith("NRC")]
    assert keys == [
        "NRCA1-F150W-CLEAR",
        "NRCB1-F150W-CLEAR",
        "NRCALONG-F444W-CLEAR",
        "NRCBLONG-F444W-CLEAR",
    ]


def test_narrow_bands_carry_their_pupil(tmp_path: Path) -> None:
    narrow = [replace(entry, pupil="F470N", gradient=None) for entry in (ALONG, BLONG)]
    parsed = yaml.safe_load(_write(tmp_path / "out.yml", [*ENTRIES, *narrow]))
    assert parsed["NRCALONG-F444W-F470N"] == parsed["NRCALONG-F444W-CLEAR"]
    assert parsed["NRCBLONG-F444W-F470N"] == 1.0


def test_names_are_taken_in_any_case(tmp_path: Path) -> None:
    lower = [
        replace(e, detector=e.detector.lower(), filter="f150w", pupil="clear") for e in (A1, B1)
    ]
    assert "NRCA1-F150W-CLEAR" in yaml.safe_load(_write(tmp_path / "out.yml", lower))


def test_a_note_cannot_become_a_key(tmp_path: Path) -> None:
    noted = replace(A1, note="seen twice\nNRCB1-F200W-CLEAR: 0.5\x00\u2028X: 1", set_id="s\rY: 2")
    parsed = yaml.safe_load(_write(tmp_path / "out.yml", [noted, B1]))
    assert set(parsed) == {
        "CRDS_CTX",
        "CRDS_CTX_MAX",
        "NRCA1-F150W-CLEAR",
        "NRCB1-F150W-CLEAR",
    }
    assert "# seen twice NRCB1-F200W-CLEAR: 0.5 X: 1" in (tmp_path / "out.yml").read_text()


@pytest.mark.parametrize("offset_mag", [0.0, 1e-17, -0.3, 12.0, -50.0, 0.012955932617201198])
def test_every_value_reads_back_as_the_same_double(tmp_path: Path, offset_mag: float) -> None:
    parsed = yaml.safe_load(_write(tmp_path / "out.yml", [replace(A1, offset_mag=offset_mag), B1]))
    assert parsed["NRCA1-F150W-CLEAR"] == 10.0 ** (-0.4 * offset_mag)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((), "no entries"),
        ((A1, B1, A1), "NRCA1-F150W-CLEAR: the key is there twice"),
        ((A1,), "NRCA1-F150W-CLEAR has no entry of NRCB1"),
        ((A1, replace(B1, filter="F200W")), "has no entry of NRCB1"),
        ((replace(A1, offset_mag=float("nan")), B1), "offset_mag is nan"),
        ((replace(A1, offset_err_mag=-1e-3), B1), r"offset_err_mag is -0\.001"),
        ((replace(A1, filter="F444W"), B1), "F444W is a LW band and the array is SW"),
        ((replace(A1, pupil="GRISMR"), B1), "not an imaging passband"),
        (
            (replace(ALONG, gradient=GrizliGradient(0.0, float("inf"), 0.0)), BLONG),
            "slope_mag_arcmin is inf",
        ),
    ],
)
def test_bad_entries_are_refused_and_nothing_is_written(
    tmp_path: Path, entries: tuple[GrizliEntry, ...], words: str
) -> None:
    with pytest.raises(InvalidValueError, match=words) as caught:
        _write(tmp_path / "out.yml", entries)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownKeyError, match="unknown detector 'NRCA5'"):
        _write(tmp_path / "out.yml", [replace(A1, detector="NRCA5"), B1])


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "out.yml"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        _write(path)
    assert path.read_text() == "mine"
    assert "NRCA1-F150W-CLEAR" in _write(path, overwrite=True)
