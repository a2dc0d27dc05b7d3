from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.table import QTable, Table

from calreg.domain import Pmap, RecipeRow
from calreg.errors import FileFormatError, InvalidValueError, OutputError
from calreg.files.exchange.recipe import (
    RecipeMeta,
    RecipeProvenance,
    provenance_key,
    read_recipe,
    write_recipe,
)
from calreg.instruments import load_instrument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Ma et al. 2024, Table 3, in the full precision of Jerry-Ma/idf_nircam_cal_recipe.
ROWS = (
    RecipeRow(
        "F150W", "1", 0.012955932617201198, 0.0015540107804402547, 0.012955932617201198, 0, 0, 0
    ),
    RecipeRow(
        "F200W", "2", -0.052666449546806056, 0.0011681122407041578, -0.052666449546806056, 0, 0, 0
    ),
    RecipeRow(
        "F444W",
        "long",
        -0.016536067144048285,
        0.0012841082895386005,
        -0.016536067144048285,
        0.0,
        0.004329215118203972,
        0.0008965250763888643,
    ),
)
F356W = RecipeRow(
    "F356W",
    "long",
    0.00874224419565249,
    0.001097134182410507,
    0.00874224419565249,
    0.0,
    0.0030013464545868888,
    0.000752008784534129,
)

NIRCAM = load_instrument()

HEADER = """\
# %ECSV 1.0
# ---
# datatype:
# - {name: det, datatype: string}
# - {name: filt, datatype: string}
# - {name: dmag_ab, datatype: float64}
# - {name: dmag_ab_err, datatype: float64}
# - {name: dmag_a, datatype: float64}
# - {name: dmag_b, datatype: float64}
# - {name: slope, datatype: float64}
# - {name: slope_err, datatype: float64}
# schema: astropy-2.0
det filt dmag_ab dmag_ab_err dmag_a dmag_b slope slope_err
"""
GOOD_LINE = "1 f150w 0.012 0.001 0.012 0.0 0.0 0.0\n"


def _provenance(rows: Sequence[RecipeRow]) -> dict[str, RecipeProvenance]:
    return {
        provenance_key(row.array_id, row.band): RecipeProvenance(
            set_id=f"0193-{number}",
            version=2,
            datum="B",
            axis_pa_deg=52.5,
            origin_ra_deg=257.7,
            origin_dec_deg=58.6,
            model="pair",
            model_version=1,
            n_pairs=60 + number,
            field="JWIDF",
            flux_kind="iso",
            image_kind="i2d",
            pmap="jwst_1130.pmap",
        )
        for number, row in enumerate(rows)
    }


def _meta(rows: Sequence[RecipeRow] = ROWS) -> RecipeMeta:
    return RecipeMeta(
        pmap=Pmap(1130),
        code_version="0.1.0",
        created_utc=datetime(2026, 11, 22, 12, tzinfo=UTC),
        provenance=_provenance(rows),
    )


def _write_text(folder: Path, lines: str, header: str = HEADER) -> Path:
    path = folder / "recipe.ecsv"
    path.write_text(header + lines)
    return path


def test_numbers_survive_writing_and_reading_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "out.ecsv"
    assert write_recipe(path, ROWS, _meta(), NIRCAM) == [path]
    table = read_recipe(path, NIRCAM)
    assert table.rows == ROWS
    assert table.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_awkward_doubles_survive(tmp_path: Path) -> None:
    rng = np.random.default_rng(20230706)
    rows = []
    for band in ("F150W", "F200W", "F115W", "F090W"):
        for array_id in ("1", "2", "3", "4"):
            offset, err, slope = rng.normal(0.0, 10.0 ** rng.uniform(-12, 0), 3).tolist()
            rows.append(RecipeRow(band, array_id, offset, abs(err), offset, 0.0, slope, abs(slope)))
    write_recipe(tmp_path / "out.ecsv", rows, _meta(rows), NIRCAM)
    again = read_recipe(tmp_path / "out.ecsv", NIRCAM).rows
    assert sorted(again, key=str) == sorted(rows, key=str)


def test_the_published_table_reads_as_printed_in_the_paper(shared_data: Path) -> None:
    table = read_recipe(shared_data / "idf_zpcor_1130_pmap.ecsv", NIRCAM)
    assert len(table.rows) == 10
    by_key = {(row.array_id, row.band): row for row in table.rows}
    # Table 3 of the paper prints five decimals.
    assert round(by_key["2", "F150W"].offset_ab_mag, 5) == -0.04342
    assert round(by_key["3", "F150W"].offset_ab_err_mag, 5) == 0.00228
    assert by_key["long", "F444W"] == ROWS[2]
    assert {row.offset_b_mag for row in table.rows} == {0.0}
    assert table.as_given[0] == {
        "det": "1",
        "filt": "f150w",
        "dmag_ab": 0.012955932617201198,
        "dmag_ab_err": 0.0015540107804402547,
        "dmag_a": 0.012955932617201198,
        "dmag_b": 0.0,
        "slope": 0.0,
        "slope_err": 0.0,
    }
    assert json.loads(json.dumps(table.as_given[9])) == table.as_given[9]
    assert table.meta == {}


def test_the_published_table_leaves_with_the_same_lines(shared_data: Path, tmp_path: Path) -> None:
    published = shared_data / "idf_zpcor_1130_pmap.ecsv"
    meta = replace(_meta(()), source="Ma et al. 2024")
    write_recipe(tmp_path / "out.ecsv", read_recipe(published, NIRCAM).rows, meta, NIRCAM)

    def data_lines(path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if not line.startswith("#")]

    assert data_lines(tmp_path / "out.ecsv") == data_lines(published)
    assert read_recipe(tmp_path / "out.ecsv", NIRCAM).meta["source"] == "Ma et al. 2024"


@pytest.mark.parametrize(
    ("module", "detector", "band", "factor"),
    [
        ("a", "1", "f150w", 1.012004),
        ("b", "1", "f150w", 1.0),
        ("a", "2", "f200w", 0.952650),
        ("a", "long", "f356w", 1.008084),  # what the published script printed
        ("a", "long", "f444w", 0.984885),
    ],
)
def test_the_published_script_would_scale_as_before(
    tmp_path: Path, module: str, detector: str, band: str, factor: float
) -> None:
    rows = (*ROWS, F356W)
    write_recipe(tmp_path / "out.ecsv", rows, _meta(rows), NIRCAM)
    # The look-up and arithmetic of Jerry-Ma/idf_nircam_cal_recipe, apply_correction.py.
    table = Table.read(tmp_path / "out.ecsv")
    entry = table[(table["det"] == detector) & (table["filt"] == band)][0]
    scale = 10 ** (entry[f"dmag_{module}"] / 2.5)
    scaled = np.ones((2, 4)) * scale
    # 1e-6: the expected factors have six decimals.
    np.testing.assert_allclose(scaled, factor, atol=1e-6)
    assert (entry["slope"] != 0) == (detector == "long")
    gradient = 10 ** (-abs(entry["slope"]) * np.arange(4) / 2.5)
    assert isinstance(gradient, np.ndarray)
    assert (gradient[3] < 1.0) == (detector == "long")


def test_a_positive_offset_brightens_module_a(tmp_path: Path) -> None:
    write_recipe(tmp_path / "out.ecsv", ROWS, _meta(), NIRCAM)
    table = Table.read(tmp_path / "out.ecsv")
    flux_b = 100.0
    flux_a = flux_b * 10 ** (-0.4 * table["dmag_ab"][0])  # reads too faint by dmag_ab
    assert flux_a < flux_b
    assert flux_a * 10 ** (table["dmag_a"][0] / 2.5) == pytest.approx(flux_b, rel=1e-14)


def test_whole_columns_compute_with_their_units_on(tmp_path: Path) -> None:
    write_recipe(tmp_path / "out.ecsv", ROWS, _meta(), NIRCAM)
    table = Table.read(tmp_path / "out.ecsv")
    assert np.asarray(10 ** (table["dmag_a"] / 2.5))[0] == pytest.approx(1.0120043354767998)
    quantities = QTable.read(tmp_path / "out.ecsv")
    assert 10 ** (quantities["dmag_a"][0].value / 2.5) == pytest.approx(1.0120043354767998)
    assert quantities["slope"].unit == "mag / arcmin"


def test_units_and_meta_say_where_numbers_come_from(tmp_path: Path) -> None:
    write_recipe(tmp_path / "out.ecsv", ROWS, _meta(), NIRCAM)
    table = Table.read(tmp_path / "out.ecsv")
    assert table.colnames == [
        "det",
        "filt",
        "dmag_ab",
        "dmag_ab_err",
        "dmag_a",
        "dmag_b",
        "slope",
        "slope_err",
    ]
    assert [str(table[name].unit) for name in table.colnames[2:]] == ["mag"] * 4 + [
        "mag / arcmin"
    ] * 2
    assert table["det"].dtype.kind == "U"
    assert list(table["filt"]) == ["f150w", "f200w", "f444w"]
    assert table.meta["sign"] == (
        "positive: module A reads too faint; multiply its flux by 10**(+0.4*dmag)"
    )
    assert table.meta["pmap"] == "jwst_1130.pmap"
    assert table.meta["created_utc"] == "2026-11-22T12:00:00Z"
    assert table.meta["calreg_version"] == "0.1.0"
    assert table.meta["provenance"]["long f444w"] == {
        "set_id": "0193-2",
        "version": 2,
        "datum": "B",
        "axis_pa_deg": 52.5,
        "origin_ra_deg": 257.7,
        "origin_dec_deg": 58.6,
        "model": "pair",
        "model_version": 1,
        "n_pairs": 62,
        "field": "JWIDF",
        "flux_kind": "iso",
        "aperture": "",
        "image_kind": "i2d",
        "pmap": "jwst_1130.pmap",
    }


def test_equal_input_in_any_order_gives_equal_bytes(tmp_path: Path) -> None:
    write_recipe(tmp_path / "one.ecsv", ROWS, _meta(), NIRCAM)
    provenance = dict(reversed(list(_meta().provenance.items())))
    backwards = replace(_meta(), provenance=provenance)
    write_recipe(tmp_path / "two.ecsv", ROWS[::-1], backwards, NIRCAM)
    assert (tmp_path / "one.ecsv").read_bytes() == (tmp_path / "two.ecsv").read_bytes()


def test_an_existing_recipe_needs_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "out.ecsv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_recipe(path, ROWS, _meta(), NIRCAM)
    assert path.read_text() == "mine"
    write_recipe(path, ROWS, _meta(), NIRCAM, overwrite=True)
    assert read_recipe(path, NIRCAM).rows == ROWS


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "no rows"),
        ((replace(ROWS[0], offset_ab_mag=float("nan")),), "dmag_ab is nan"),
        ((replace(ROWS[0], slope_err_mag_arcmin=-0.1),), "slope_err is -0.1"),
        ((replace(ROWS[0], offset_b_mag=0.5),), "dmag_a - dmag_b is -0.487"),
        ((ROWS[0], ROWS[0]), "the key is also in row 1"),
        ((replace(ROWS[0], band="F151W"),), "filt is 'f151w'"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    tmp_path: Path, rows: tuple[RecipeRow, ...], words: str
) -> None:
    with pytest.raises(InvalidValueError, match=words):
        write_recipe(tmp_path / "out.ecsv", rows, _meta(rows), NIRCAM)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_unknown_origin_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"row \(long f444w\) has no provenance"):
        write_recipe(tmp_path / "out.ecsv", ROWS, _meta(ROWS[:2]), NIRCAM)
    with pytest.raises(InvalidValueError, match="provenance of 'long f444w' belongs to no row"):
        write_recipe(tmp_path / "out.ecsv", ROWS[:2], _meta(), NIRCAM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "1 f200w 0.012 0.001 0.011 0.0 0.0 0.0\n",
            "dmag_a - dmag_b is 0.011 but dmag_ab is 0.012",
        ),
        (
            "1 f200w 0.012 -0.001 0.012 0.0 0.0 0.0\n",
            r"dmag_ab_err is -0\.001; expected zero or more",
        ),
        ("1 f200w nan 0.001 0.012 0.0 0.0 0.0\n", "dmag_ab is nan; expected a finite number"),
        ("1 f200w 0.012 0.001 0.012 0.0 inf 0.0\n", "slope is inf"),
        ('1 f200w "" 0.001 0.012 0.0 0.0 0.0\n', "row 2: no value of dmag_ab"),
        ("5 f150w 0.012 0.001 0.012 0.0 0.0 0.0\n", "det is '5'; expected one of 1, 2, 3, 4, long"),
        ("1 f151w 0.012 0.001 0.012 0.0 0.0 0.0\n", "filt is 'f151w'; expected a band of NIRCAM"),
        ("1 f444w 0.012 0.001 0.012 0.0 0.0 0.0\n", "F444W is a LW band and array 1 is SW"),
        ("1 F150W 0.012 0.001 0.012 0.0 0.0 0.0\n", "the key is also in row 1"),
    ],
)
def test_a_bad_row_is_refused_in_one_line_that_names_it(
    tmp_path: Path, line: str, words: str
) -> None:
    path = _write_text(tmp_path, GOOD_LINE + line)
    with pytest.raises(FileFormatError, match=words) as caught:
        read_recipe(path, NIRCAM)
    message = str(caught.value)
    assert message.startswith(f"{path}: row 2")
    assert "\n" not in message


def test_shares_within_rounding_are_taken(tmp_path: Path) -> None:
    path = _write_text(tmp_path, "1 f150w 0.012 0.001 0.0170000000005 0.005 0.0 0.0\n")
    row = read_recipe(path, NIRCAM).rows[0]
    assert (row.offset_a_mag, row.offset_b_mag) == (0.0170000000005, 0.005)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    header = HEADER.replace("# - {name: slope, datatype: float64}\n", "").replace(" slope ", " ")
    path = _write_text(tmp_path, "1 f150w 0.012 0.001 0.012 0.0 0.0\n", header)
    with pytest.raises(
        FileFormatError, match=r"no column slope; expected det filt .* found det filt"
    ):
        read_recipe(path, NIRCAM)


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no rows"):
        read_recipe(_write_text(tmp_path, ""), NIRCAM)


def test_another_unit_is_refused(tmp_path: Path) -> None:
    header = HEADER.replace("{name: dmag_a, ", "{name: dmag_a, unit: mmag, ")
    with pytest.raises(FileFormatError, match="column dmag_a is in 'mmag'; expected 'mag'"):
        read_recipe(_write_text(tmp_path, GOOD_LINE, header), NIRCAM)


def test_the_same_unit_in_other_spelling_is_taken(tmp_path: Path) -> None:
    header = HEADER.replace("{name: slope, ", "{name: slope, unit: mag/arcmin, ")
    assert len(read_recipe(_write_text(tmp_path, GOOD_LINE, header), NIRCAM).rows) == 1


def test_text_in_a_number_column_is_refused(tmp_path: Path) -> None:
    header = HEADER.replace("{name: slope, datatype: float64}", "{name: slope, datatype: string}")
    with pytest.raises(
        FileFormatError, match=r"column slope holds .*; expected one number per row"
    ):
        read_recipe(_write_text(tmp_path, GOOD_LINE, header), NIRCAM)


def test_array_ids_may_be_integers(tmp_path: Path) -> None:
    header = HEADER.replace("{name: det, datatype: string}", "{name: det, datatype: int64}")
    table = read_recipe(_write_text(tmp_path, GOOD_LINE, header), NIRCAM)
    assert table.rows[0].array_id == "1"
    assert table.as_given[0]["det"] == "1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"det filt dmag_ab\n1 f150w 0.1\n",
        b"SIMPLE  =                    T" + b" " * 2850,
        bytes(range(256)) * 8,
        HEADER[:120].encode(),
        (HEADER + "1 f150w 0.012 0.001\n").encode(),
        (HEADER + "1 f150w 0.012 abc 0.012 0.0 0.0 0.0\n").encode(),
        HEADER.replace("# datatype:", "# datatype").encode() + GOOD_LINE.encode(),
        HEADER.replace("float64", "float6").encode() + GOOD_LINE.encode(),
        b"# %ECSV 1.0\n# ---\n# {}\n",
        b"# %ECSV 1.0\n# ---\n# - 1\nx\n1\n",
        b"# %ECSV 1.0\n# ---\n# datatype: 3\nx\n1\n",
    ],
)
def test_what_is_not_a_recipe_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.ecsv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        read_recipe(path, NIRCAM)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_recipe_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path / "whole.ecsv", ROWS, _meta(), NIRCAM)
    whole = (tmp_path / "whole.ecsv").read_bytes()
    path = tmp_path / "cut.ecsv"
    lengths = [*range(0, len(whole), 97), len(whole) - 5, len(whole) - 1]
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            read_recipe(path, NIRCAM)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot read .*gone\.ecsv: No such file"):
        read_recipe(tmp_path / "gone.ecsv", NIRCAM)
