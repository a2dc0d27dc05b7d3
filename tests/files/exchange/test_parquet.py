from __future__ import annotations

import errno
import importlib
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from calreg.errors import InvalidValueError, MissingExtraError, OutputError
from calreg.files.exchange.parquet import SIGN_SENTENCE, ParquetTable, write_parquet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CREATED = datetime(2026, 11, 22, 12, tzinfo=UTC)
TIMES = [datetime(2023, 7, 6, 1, 2, 3, 456789, tzinfo=UTC), None]

SETS = ParquetTable(
    columns={
        "band": np.array(["F150W", "F444W"]),
        "offset_ab_mag": np.array([0.012955932617201198, -0.016536067144048285]),
        "corr_offset_slope": np.array([np.nan, 0.87]),
        "n_pairs": np.array([60, 170]),
        "superseded_by": np.array(["0193-ü", None], dtype=object),
        "is_current": np.array([True, False]),
        "created_utc": np.array(TIMES, dtype=object),
    },
    units={"offset_ab_mag": "mag"},
    descriptions={"offset_ab_mag": "m_A - m_B"},
    description="fitted numbers for one key",
)
PAIRS = ParquetTable(
    columns={"sep_mas": np.array([3.5]), "flags": np.array([5], dtype=np.int32)},
    units={"sep_mas": "mas"},
)
TABLES = {"coefficient_sets": SETS, "pairs": PAIRS}


def _write(
    directory: Path, tables: Mapping[str, ParquetTable] = TABLES, *, overwrite: bool = False
) -> list[Path]:
    return write_parquet(
        directory, tables, code_version="0.1.0", created_utc=CREATED, overwrite=overwrite
    )


def _read(path: Path) -> pa.Table:
    return parquet.read_table(path)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_one_file_per_table_and_nothing_else(tmp_path: Path) -> None:
    paths = _write(tmp_path / "out")
    assert paths == [
        tmp_path / "out" / "coefficient_sets.parquet",
        tmp_path / "out" / "pairs.parquet",
    ]
    assert _names(tmp_path / "out") == [path.name for path in paths]


def test_values_and_types_survive(tmp_path: Path) -> None:
    table = _read(_write(tmp_path / "out")[0])
    assert table.to_pydict() == {
        "band": ["F150W", "F444W"],
        "offset_ab_mag": [0.012955932617201198, -0.016536067144048285],
        "corr_offset_slope": [None, 0.87],
        "n_pairs": [60, 170],
        "superseded_by": ["0193-ü", None],
        "is_current": [True, False],
        "created_utc": TIMES,
    }
    assert [str(column.type) for column in table.schema] == [
        "string",
        "double",
        "double",
        "int64",
        "string",
        "bool",
        "timestamp[us, tz=UTC]",
    ]
    assert _read(tmp_path / "out" / "pairs.parquet").schema.field("flags").type == pa.int32()


def test_units_sign_and_origin_are_in_the_metadata(tmp_path: Path) -> None:
    schema = _read(_write(tmp_path / "out")[0]).schema
    assert schema.field("offset_ab_mag").metadata[b"unit"] == b"mag"
    assert schema.field("offset_ab_mag").metadata[b"description"] == b"m_A - m_B"
    assert b"unit" not in (schema.field("band").metadata or {})
    assert schema.metadata[b"calreg_version"] == b"0.1.0"
    assert schema.metadata[b"created_utc"] == b"2026-11-22T12:00:00Z"
    assert schema.metadata[b"sign"] == SIGN_SENTENCE.encode()
    assert schema.metadata[b"description"] == b"fitted numbers for one key"
    assert "10**(+0.4*offset)" in SIGN_SENTENCE


def test_the_metadata_that_astropy_reads_hold_units_and_lengths(tmp_path: Path) -> None:
    from astropy.table.meta import get_header_from_yaml

    metadata = _read(_write(tmp_path / "out")[0]).schema.metadata
    header = get_header_from_yaml(metadata[b"table_meta_yaml"].decode().split("\n"))
    columns = {column["name"]: column for column in header["datatype"]}
    assert columns["offset_ab_mag"]["unit"] == "mag"
    assert columns["offset_ab_mag"]["description"] == "m_A - m_B"
    assert list(columns) == list(SETS.columns)
    assert header["meta"]["sign"] == SIGN_SENTENCE
    assert metadata[b"table::len::band"] == b"5"
    assert metadata[b"table::len::superseded_by"] == b"6"


@pytest.mark.parametrize(
    ("values", "expected", "type_name"),
    [
        (np.array([1, None], dtype=object), [1, None], "int64"),
        (np.array([True, None], dtype=object), [True, None], "bool"),
        (np.array([1.5, None, np.nan, 2], dtype=object), [1.5, None, None, 2.0], "double"),
        (np.array([None, None], dtype=object), [None, None], "string"),
        (np.array([], dtype=object), [], "string"),
        (np.array([], dtype=np.float64), [], "double"),
        (np.array([np.inf, -0.0]), [np.inf, -0.0], "double"),
        (np.array([1.5, np.nan], dtype=np.float32), [1.5, None], "float"),
        (
            np.array(["2023-07-06T01:02:03.5", "NaT"], dtype="datetime64[ms]"),
            [datetime(2023, 7, 6, 1, 2, 3, 500_000, tzinfo=UTC), None],
            "timestamp[us, tz=UTC]",
        ),
        (
            np.array([datetime(2023, 7, 6, 2, tzinfo=timezone(timedelta(hours=2)))], dtype=object),
            [datetime(2023, 7, 6, 0, tzinfo=UTC)],
            "timestamp[us, tz=UTC]",
        ),
    ],
)
def test_missing_values_become_null_and_types_stay(
    tmp_path: Path, values: NDArray[np.generic], expected: list[object], type_name: str
) -> None:
    table = _read(_write(tmp_path / "out", {"one": ParquetTable({"x": values})})[0])
    assert table["x"].to_pylist() == expected
    assert str(table.schema.field("x").type) == type_name


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (ParquetTable({}), "no columns"),
        (ParquetTable({"x": np.zeros(2), "y": np.zeros(3)}), r"column y has shape \(3,\)"),
        (ParquetTable({"x": np.zeros((2, 2))}), r"column x has shape \(2, 2\)"),
        (ParquetTable({"x": np.zeros(2)}, units={"y": "mag"}), "given for 'y', which is no column"),
        (ParquetTable({"x": np.zeros(2)}, units={"x": "magn"}), "unit 'magn'"),
        (ParquetTable({"x": np.array(["a", 1], dtype=object)}), r"one\.x holds int, str"),
        (ParquetTable({"x": np.array([True, 1], dtype=object)}), r"one\.x holds bool, int"),
        (
            ParquetTable({"x": np.array([CREATED.replace(tzinfo=None)], dtype=object)}),
            r"one\.x holds datetime; expected .* aware times",
        ),
        (ParquetTable({"x": np.zeros(2, dtype=complex)}), r"one\.x holds complex128"),
    ],
)
def test_bad_tables_are_refused_before_anything_is_written(
    tmp_path: Path, table: ParquetTable, words: str
) -> None:
    with pytest.raises(InvalidValueError, match=words):
        _write(tmp_path / "out", {"good": PAIRS, "one": table})
    assert list(tmp_path.iterdir()) == []


def test_table_names_are_no_paths(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"table name '\.\./x'"):
        _write(tmp_path / "out", {"../x": PAIRS})
    with pytest.raises(InvalidValueError, match="no tables"):
        _write(tmp_path / "out", {})
    assert list(tmp_path.iterdir()) == []


def test_existing_files_need_overwrite_and_none_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "pairs.parquet").write_text("mine")
    (folder / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"pairs\.parquet: it exists; .*--overwrite"):
        _write(folder)
    assert _names(folder) == ["notes.txt", "pairs.parquet"]
    assert (folder / "pairs.parquet").read_text() == "mine"
    _write(folder, overwrite=True)
    assert _read(folder / "pairs.parquet")["sep_mas"].to_pylist() == [3.5]
    assert (folder / "notes.txt").read_text() == "keep"


def test_a_failure_at_the_last_table_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table = parquet.write_table
    calls = []

    def full_at_second(table: object, where: object) -> None:
        calls.append(where)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_table(table, where)

    monkeypatch.setattr(parquet, "write_table", full_at_second)
    with pytest.raises(OutputError, match="No space left on device"):
        _write(tmp_path / "out")
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="it is not a folder"):
        _write(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot make folder .*: No such file or directory"):
        _write(tmp_path / "no" / "out")


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = _write(tmp_path / "one"), _write(tmp_path / "two")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'calreg\[arrow\]'"):
        _write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
