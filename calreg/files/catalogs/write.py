"""Write catalogs of sources as ECSV, FITS or Parquet, with units."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.files.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from astropy.table import Table
    from numpy.typing import NDArray

FORMATS = {
    ".ecsv": "ecsv",
    ".fits": "fits",
    ".fit": "fits",
    ".parquet": "parquet",
}
"""Format of a file by the ending of its name."""


@dataclass(frozen=True)
class CatalogTable:
    """A catalog on its way to a file.

    Attributes
    ----------
    columns : mapping of str to ndarray, shape (n_rows,)
        By SExtractor's names.
    units : mapping of str to str
        As astropy spells them; none for a column left out.
    """

    columns: Mapping[str, NDArray[Any]] = field(repr=False)
    units: Mapping[str, str] = field(repr=False)
    descriptions: Mapping[str, str] = field(repr=False)
    image_name: str
    detection_image_name: str
    software: str
    settings: Mapping[str, str] = field(repr=False)


def require_format(path: Path) -> str:
    """Return the format that a file's name asks for.

    Returns
    -------
    str
        ``ecsv``, ``fits`` or ``parquet``.

    Raises
    ------
    InvalidValueError
        For another ending.
    MissingExtraError
        Parquet without pyarrow.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        msg = f"{path}: the name ends in {path.suffix or 'nothing'}: expected {', '.join(FORMATS)}"
        raise InvalidValueError(msg)
    if found == "parquet":
        _require_pyarrow(path)
    return found


def _require_pyarrow(path: Path) -> None:
    """Explain how to get the library that writes Parquet, where it is missing."""
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        msg = f"{path}: writing Parquet needs pyarrow; run pip install 'calreg[arrow]'"
        raise MissingExtraError(msg) from error


def write_catalogs(catalogs: Mapping[Path, CatalogTable], *, overwrite: bool = False) -> None:
    """Write catalogs in the formats that the names of their files ask for.

    All are written under temporary names before any gets its own, so that a failure while writing
    leaves none of them.

    Raises
    ------
    InvalidValueError
        If a name asks for no known format.
    MissingExtraError
        Parquet without pyarrow.
    OutputError
        If a file exists or cannot be written; it is removed then.
    """
    with ExitStack() as stack:
        for path, catalog in catalogs.items():
            temporary = stack.enter_context(replace_file(path, overwrite=overwrite))
            _write(path, temporary, catalog)


def _write(path: Path, temporary: Path, catalog: CatalogTable) -> None:
    """Write one catalog under its temporary name."""
    file_format = require_format(path)
    table = _to_table(catalog)
    if file_format == "ecsv":
        table.write(temporary, format="ascii.ecsv", overwrite=True)
    elif file_format == "fits":
        _write_fits(temporary, table, catalog)
    else:
        _write_parquet(temporary, table)


def _to_table(catalog: CatalogTable) -> Table:
    """Return an astropy table with units, descriptions and metadata."""
    from astropy.table import Column, Table

    table = Table()
    for name, values in catalog.columns.items():
        table[name] = Column(
            values,
            unit=catalog.units.get(name),
            description=catalog.descriptions.get(name),
        )
    table.meta = {
        "image": catalog.image_name,
        "detection_image": catalog.detection_image_name,
        "software": catalog.software,
        "settings": dict(catalog.settings),
    }
    return table


def _write_fits(path: Path, table: Table, catalog: CatalogTable) -> None:
    """Write a binary table after a primary header with the cards that SExtractor writes."""
    from astropy.io import fits

    header = fits.Header()
    # Without comments: they are cut, with a warning, beside a long name.
    header["FITSFILE"] = catalog.image_name
    header["DETFILE"] = catalog.detection_image_name
    header["SEXVERS"] = catalog.software
    for name, value in catalog.settings.items():
        header["COMMENT"] = f"{name} = {value}"
    plain = table.copy()
    plain.meta.clear()
    hdu = fits.table_to_hdu(plain)
    hdu.name = "SOURCES"
    fits.HDUList([fits.PrimaryHDU(header=header), hdu]).writeto(path, overwrite=True)


def _write_parquet(temporary: Path, table: Table) -> None:
    """Write Parquet with units in the fields and metadata where astropy puts it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from astropy.table.meta import get_yaml_from_table

    fields = [
        pa.field(
            name,
            pa.from_numpy_dtype(table[name].dtype),
            metadata={
                "unit": str(table[name].unit or ""),
                "description": table[name].description or "",
            },
        )
        for name in table.colnames
    ]
    meta = {"table_meta_yaml": "\n".join(get_yaml_from_table(table))}
    arrays = [pa.array(table[name].data) for name in table.colnames]
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=meta)), temporary)
