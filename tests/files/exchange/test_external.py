"""Tables of others: every number with what its comment says, and clear words about bad lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from calreg.domain import Pmap
from calreg.errors import FileFormatError, InvalidValueError
from calreg.files.exchange.external import (
    COMMENTED,
    NO_CONTEXT,
    NOT_OURS,
    OTHER_CONTEXT,
    REPLACED,
    read_csv_table,
    read_grizli_table,
)
from calreg.instruments import load_instrument
from calreg.science.external import ValueState
from support.externaltables import CSV, DIVISORS, MULTIPLIERS, write

if TYPE_CHECKING:
    from pathlib import Path

NIRCAM = load_instrument()


def test_lists_come_with_errors_contexts_and_states(tmp_path: Path) -> None:
    table = read_grizli_table(write(tmp_path / "z.yml", MULTIPLIERS), NIRCAM)
    found = {(value.array, value.band): value for value in table.values}
    a1 = found["nrca1", "F200W"]
    assert (a1.pmap, a1.array_id, a1.value, a1.err) == (Pmap(1293), "1", 1.0328, 0.0018)
    assert (a1.photmjsr, a1.pixar_sr, a1.state) == (1.964, 2.24e-14, ValueState.MEASURED)
    assert (a1.line, a1.is_mag) == (5, False)
    assert a1.text.startswith("NRCA1-F200W-CLEAR: [ 1.9640")
    assert found["nrcb1", "F200W"].state is ValueState.DATUM
    assert found["nrcalong", "F405N"].state is ValueState.NONE
    # FILTER F444W with PUPIL F470N is band F470N.
    assert found["nrcalong", "F470N"].value == 0.9725
    assert table.n_left_out == {NO_CONTEXT: 2, COMMENTED: 1}
    assert table.divide_line == ""
    assert len(table.file_sha256) == 64


def test_a_context_that_is_named_holds_for_entries_without(tmp_path: Path) -> None:
    path = write(tmp_path / "z.yml", MULTIPLIERS)
    table = read_grizli_table(path, NIRCAM, pmap=Pmap(1293), with_commented=True)
    assert Counter(value.state for value in table.values)[ValueState.INTERPOLATED] == 2
    # The line in force wins over the one that is commented out.
    assert next(v.value for v in table.values if v.array == "nrcb2") == 1.0603
    assert table.n_left_out == {REPLACED: 1}
    # Of a file that knows other contexts, entries without one are nobody's.
    assert read_grizli_table(path, NIRCAM, pmap=Pmap(1130)).n_left_out == {
        OTHER_CONTEXT: 9,
        NO_CONTEXT: 2,
        COMMENTED: 1,
    }


def test_scalars_belong_to_the_context_of_their_block(tmp_path: Path) -> None:
    path = write(tmp_path / "p.yml", DIVISORS)
    table = read_grizli_table(path, NIRCAM)
    assert [(v.pmap, v.array, v.value, v.err) for v in table.values] == [
        (Pmap(995), "nrcblong", 1.0, None),
        (Pmap(995), "nrcalong", 1.0618, None),
    ]
    assert table.divide_line.startswith("So, to apply the corrections below, *divide*")
    old = read_grizli_table(path, NIRCAM, pmap=Pmap(942), with_commented=True)
    assert [(v.array, v.value, v.state) for v in old.values] == [
        ("nrca1", 1.1555, ValueState.MEASURED),
        ("nrcb1", 1.1453, ValueState.MEASURED),
        # Both exactly one: nobody measured that.
        ("nrca1", 1.0, ValueState.NONE),
        ("nrcb1", 1.0, ValueState.NONE),
    ]
    assert old.n_left_out[NOT_OURS] == 1
    later = read_grizli_table(path, NIRCAM, pmap=Pmap(989), with_commented=True)
    assert [v.value for v in later.values] == [0.9953, 1.0293]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("NRCA1-F200W-CLEAR 1.03", r"line 2: expected DETECTOR-FILTER-PUPIL.*found 'NRCA1"),
        ("NRCA1-F200W-CLEAR: one", r"line 2: a number: expected a finite number, found 'one'"),
        ("NRCA1-F200W-CLEAR: nan", r"line 2: .*found 'nan'"),
        ("NRCA1-F200W-CLEAR: -1.03", r"line 2: factor is -1\.03: expected a positive"),
        ("NRCA1-F200W-CLEAR: 0", r"line 2: factor is 0: expected a positive"),
        ("NRCA1-F200W-CLEAR: 103", r"line 2: 103 is an offset of \+5\.03 mag"),
        ("NRCA1-F200W-CLEAR: [1.9, 1.03]", r"line 2: \[1\.9, 1\.03\]: expected one number, or"),
        ("NRCA1-F200W-CLEAR: [0, 1.03, 2e-14]", r"line 2: PHOTMJSR is 0: expected a positive"),
        ("NRCA1-F200W-CLEAR: 1.03 # std_err = x", r"line 2: std_err: expected a finite number"),
        ("NRCA1-F200W-CLEAR: 1.03 # std_err = -1", r"line 2: error is -1: expected zero or more"),
        ("NRCC1-F200W-CLEAR: 1.03", r"line 2: unknown detector 'NRCC1'"),
        ("NRCA1-F200X-CLEAR: 1.03", r"line 2: FILTER='F200X' with PUPIL='CLEAR'"),
        ("NRCA1-F444W-CLEAR: 1.03", r"line 2: F444W is a .* band and nrca1 is"),
        ("NRCB1-F200W-CLEAR: 1.03", r"line 3: nrcb1 F200W is in line 2 already"),
        ("- NRCA1", r"line 2: expected DETECTOR-FILTER-PUPIL.*found '- NRCA1'"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, match: str) -> None:
    text = f"CRDS_CTX: jwst_0995.pmap\n{line}\nNRCB1-F200W-CLEAR: 1.01\n"
    with pytest.raises(FileFormatError, match=match):
        read_grizli_table(write(tmp_path / "bad.yml", text), NIRCAM)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot read .*none\.yml"):
        read_grizli_table(tmp_path / "none.yml", NIRCAM)
    (tmp_path / "binary.yml").write_bytes(b"SIMPLE\xff\xfe\x00")
    with pytest.raises(FileFormatError, match=r"binary\.yml: not a readable text"):
        read_csv_table(tmp_path / "binary.yml", NIRCAM)
    with pytest.raises(InvalidValueError, match="need --pmap"):
        read_grizli_table(write(tmp_path / "p.yml", DIVISORS), NIRCAM, with_commented=True)


def test_csv_takes_detectors_and_differences(tmp_path: Path) -> None:
    table = read_csv_table(write(tmp_path / "t.csv", CSV), NIRCAM)
    assert [(v.pmap, v.array, v.array_id, v.band, v.value, v.err) for v in table.values] == [
        (Pmap(1130), "nrca1", "1", "F200W", 0.020, 0.001),
        (Pmap(1130), "nrcb1", "1", "F200W", -0.010, 0.002),
        (Pmap(1130), "", "long", "F444W", -0.016, None),
    ]
    assert all(value.is_mag for value in table.values)
    factors = write(tmp_path / "f.csv", "band,array,factor\nF200W,NRCA1,1.02\n")
    (value,) = read_csv_table(factors, NIRCAM, pmap=Pmap(1298)).values
    assert (value.pmap, value.value, value.is_mag, value.err) == (Pmap(1298), 1.02, False, None)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty; expected a line of names"),
        ("band,array,offset\nF200W,1,0.1\n", "no column pmap: expected the columns"),
        ("pmap,band,array,value\n", "neither a column offset nor factor"),
        ("pmap,band,array,offset,factor\n", "both offset and factor"),
        ("pmap,band,array,offset,err\n", "column 'err' is unknown"),
        ("pmap,band,array,offset\n1130,F200W,1\n", "line 2: 3 cells for 4 columns"),
        ("pmap,band,array,offset\nlatest,F200W,1,0.1\n", "line 2: context 'latest'"),
        ("pmap,band,array,offset\n,F200W,1,0.1\n", "line 2: column pmap is empty"),
        ("pmap,band,array,offset\n1130,F2,1,0.1\n", "line 2: unknown band 'F2'"),
        ("pmap,band,array,offset\n1130,F200W,5,0.1\n", "line 2: unknown array id '5'"),
        ("pmap,band,array,offset\n1130,F200W,long,0.1\n", "line 2: F200W is a"),
        ("pmap,band,array,offset\n1130,F200W,1,x\n", "line 2: column offset: expected a finite"),
        ("pmap,band,array,offset\n1130,F200W,1,12.5\n", "line 2: 12.5 is an offset of"),
        ("pmap,band,array,offset,error\n1130,F200W,1,0.1,-1\n", "line 2: error is -1"),
        ("pmap,band,array,offset\n1130,F200W,1,0.1\n1130,F200W,1,0.1\n", "line 3: the same array"),
    ],
)
def test_bad_csv_is_named(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(FileFormatError, match=match):
        read_csv_table(write(tmp_path / "bad.csv", text), NIRCAM)


# --- the real tables ------------------------------------------------------------------------------


def test_the_real_tables_are_read_whole(shared_data: Path) -> None:
    zeropoints = read_grizli_table(shared_data / "jwst_zeropoints.yml", NIRCAM, pmap=Pmap(1293))
    assert Counter(value.state for value in zeropoints.values) == {
        ValueState.MEASURED: 81,
        ValueState.DATUM: 23,
        ValueState.INTERPOLATED: 16,
        ValueState.NONE: 6,
    }
    corrections = shared_data / "photom_correction.yml"
    assert read_grizli_table(corrections, NIRCAM).values == []
    n_measured = {}
    for pmap in (942, 989, 995):
        table = read_grizli_table(corrections, NIRCAM, pmap=Pmap(pmap), with_commented=True)
        states = Counter(value.state for value in table.values)
        n_measured[pmap] = states[ValueState.MEASURED]
        assert "divide" in table.divide_line
    assert n_measured == {942: 42, 989: 32, 995: 10}
