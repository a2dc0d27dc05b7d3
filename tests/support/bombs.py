"""Small files that say they hold very much, or that are nested very deep."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

if TYPE_CHECKING:
    from pathlib import Path

DEPTH = 200_000


def with_card(content: bytes, keyword: str, value: object, *, n: int = 0) -> bytes:
    """Return a FITS file with another value in the n-th card of that keyword."""
    name = keyword.ljust(8).encode() + b"= "
    start = -1
    for _ in range(n + 1):
        start = content.index(name, start + 1)
    card = (name + str(value).rjust(20).encode()).ljust(80)
    return content[:start] + card + content[start + 80 :]


def many_rows(path: Path, n_groups: int = 100) -> Path:
    """Write Parquet with a million equal rows in every group, in a few kilobytes each."""
    n_rows = 1_000_000
    columns = ("ra", "dec", "flux", "flux_err")
    group = pa.table({name: np.full(n_rows, 1.0) for name in columns})
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(n_groups):
            writer.write_table(group)
    return path


def deep_tree(path: Path) -> Path:
    """Append an ASDF extension to a FITS file whose tree is nested very deep."""
    text = b"#ASDF 1.0.0\n%YAML 1.1\n--- " + b"[" * DEPTH + b"]" * DEPTH + b"\n...\n"
    return _with_tree(path, text)


def aliased_tree(path: Path) -> Path:
    """Append an ASDF extension whose aliases stand for 9**20 nodes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    text = "#ASDF 1.0.0\n%YAML 1.1\n---\n" + "\n".join(lines) + "\n...\n"
    return _with_tree(path, text.encode())


def _with_tree(path: Path, text: bytes) -> Path:
    """Append an ASDF extension."""
    with fits.open(path, memmap=False) as hdus:
        kept = [hdu.copy() for hdu in hdus if hdu.name != "ASDF"]
    content = np.frombuffer(text, dtype=np.uint8)
    column = fits.Column("ASDF_METADATA", f"{len(content)}B", array=content[np.newaxis])
    kept.append(fits.BinTableHDU.from_columns([column], name="ASDF"))
    fits.HDUList(kept).writeto(path, overwrite=True)
    return path


def compressed_zeros(path: Path, n_pixels: int = 60_000) -> Path:
    """Replace SCI by a tile-compressed image of n x n zeros that takes a few kilobytes."""
    with fits.open(path, memmap=False) as hdus:
        kept = [hdu.copy() for hdu in hdus]
    science = next(hdu for hdu in kept if hdu.name == "SCI")
    small = fits.CompImageHDU(np.zeros((64, 64), np.float32), science.header, name="SCI",
                              compression_type="GZIP_1", quantize_level=0.0)  # fmt: skip
    kept[kept.index(science)] = small
    fits.HDUList(kept).writeto(path, overwrite=True)
    content = path.read_bytes()
    for keyword in ("ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2"):
        if keyword.ljust(8).encode() + b"= " in content:
            content = with_card(content, keyword, n_pixels)
    path.write_bytes(content)
    return path


def deep_votable(path: Path) -> Path:
    """Write a VOTable whose elements are nested very deep."""
    opened = b"<RESOURCE>" * DEPTH
    path.write_bytes(b'<?xml version="1.0"?>\n<VOTABLE version="1.3">' + opened + b"</VOTABLE>")
    return path


def votable_of_entities(path: Path) -> Path:
    """Write a VOTable whose only cell stands for 10**9 letters."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    path.write_text(
        '<?xml version="1.0"?>\n'
        f'<!DOCTYPE VOTABLE [<!ENTITY e0 "x">{levels}]>\n'
        '<VOTABLE version="1.3"><RESOURCE><TABLE><FIELD name="ra" datatype="char" arraysize="*"/>'
        "<DATA><TABLEDATA><TR><TD>&e9;</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    return path


def gzipped_votable(path: Path) -> Path:
    """Write zlib data that a VOTable reader would take for 10**9 bytes of table."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = b'<?xml version="1.0"?>\n<VOTABLE version="1.3">'
    blanks = b" " * 1_000_000
    packed = packer.compress(head) + b"".join(packer.compress(blanks) for _ in range(1000))
    path.write_bytes(packed + packer.flush())
    return path


def deep_ecsv(path: Path) -> Path:
    """Write ECSV whose header is nested very deep."""
    path.write_text(f"# %ECSV 1.0\n# ---\n# meta: {'[' * DEPTH}{']' * DEPTH}\nra dec\n1 2\n")
    return path


def deep_mapping(path: Path) -> Path:
    """Write a mapping whose selector is nested very deep."""
    path.write_text(f"header = {{\n}}\n\nselector = {'(' * DEPTH}{')' * DEPTH}\n")
    return path
