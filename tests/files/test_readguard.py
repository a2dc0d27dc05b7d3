"""What files state of their own size and depth is held against what they can hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from calreg.errors import FileFormatError
from calreg.files.fits.headers import read_headers
from calreg.files.readguard import (
    MAX_DEPTH,
    require_columns,
    require_few_aliases,
    require_few_nodes,
    require_plausible_size,
    require_shallow,
    require_shallow_header,
)
from support.bombs import with_card
from support.catalogfiles import write_ldac_catalog

PATH = Path("x.fits")


@pytest.mark.parametrize("n_columns", [-1, 1000, 2**31])
def test_a_number_of_columns_that_cannot_be(n_columns: int) -> None:
    with pytest.raises(FileFormatError, match=rf"x.fits: card TFIELDS: found {n_columns}, "):
        require_columns(PATH, n_columns)
    require_columns(PATH, 0)
    require_columns(PATH, 999)


def test_a_size_that_cannot_be() -> None:
    require_plausible_size(PATH, 3000, 1 << 20, "a small table")
    require_plausible_size(PATH, 10**6, 10**8, "a table")
    with pytest.raises(FileFormatError, match=r"hold 9 rows \(100000001 bytes\) in 1000000 bytes"):
        require_plausible_size(PATH, 10**6, 10**8 + 1, "9 rows")


@pytest.mark.parametrize("opened", [b"[", b"{a: ", b"(", b"[{("])
def test_a_text_that_is_nested_too_deep(opened: bytes) -> None:
    require_shallow(PATH, b"{[()]}" * 10_000)
    require_shallow(PATH, b"[" * MAX_DEPTH)
    with pytest.raises(FileFormatError, match="nested more than 100 levels deep"):
        require_shallow(PATH, b"a: b\n" + opened * (MAX_DEPTH + 1))


@pytest.mark.parametrize("line", [b"- " * 200 + b"x", b"   " * 100 + b"x", b"? " * 200])
def test_a_line_that_is_indented_too_deep(line: bytes) -> None:
    require_shallow(PATH, b"x" + b" " * 1000 + b"y\n")
    with pytest.raises(FileFormatError, match="nested more than 100 levels deep"):
        require_shallow(PATH, b"a: b\n" + line)


def test_only_the_header_of_a_table_is_nested() -> None:
    header = b"# %ECSV 1.0\n# ---\n# meta: {a: [1]}\n"
    require_shallow_header(PATH, header + b"note\n" + b":(\n" * 1000)
    with pytest.raises(FileFormatError, match="nested more than 100 levels deep"):
        require_shallow_header(PATH, header + b"# x: " + b"[" * 1000 + b"\nnote\n")


def test_aliases_that_stand_for_very_much() -> None:
    tree: list[object] = ["x"] * 9
    for _ in range(9):
        tree = [tree] * 9
    require_few_nodes(PATH, {"a": {"b": [1, 2, ("c", [3])]}})
    with pytest.raises(FileFormatError, match="more than 1000000 entries"):
        require_few_nodes(PATH, {"a": tree})


def test_yaml_of_aliases() -> None:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join(["a0: &a0 [x, x]", *lines]).encode()
    require_few_aliases(PATH, b"a: &a {b: c}\nd: [*a, *a]\n")
    require_few_aliases(PATH, text.partition(b"\na3")[0])
    for too_much in (text, b"a: &a [b, *a]\n"):
        with pytest.raises(FileFormatError, match="entries, aliases written out"):
            require_few_aliases(PATH, too_much)
    with pytest.raises(FileFormatError, match="is not YAML"):
        require_few_aliases(PATH, b"a: *b\n")


@pytest.mark.parametrize("n_columns", [1000, 2**31, 2**63])
def test_headers_do_not_get_past_a_number_of_columns(tmp_path: Path, n_columns: int) -> None:
    path = write_ldac_catalog(tmp_path / "x.cat", "x_cal.fits")
    path.write_bytes(with_card(path.read_bytes(), "TFIELDS", n_columns, n=1))
    with pytest.raises(FileFormatError, match=f"TFIELDS: found {n_columns}, expected 0 to 999"):
        read_headers(path)
