"""A registry is of one instrument: which, is stored, and another one is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import InstrumentRow
from calreg.errors import ConflictError, DatabaseError, InvalidValueError, UnknownKeyError
from calreg.instruments import load_instrument

if TYPE_CHECKING:
    from pathlib import Path

NIRCAM = load_instrument()


def invented(path: Path, name: str = "INVENTED", *, scale: str = "0.06275478") -> Path:
    """Write the table of NIRCam under another name, its first LW scale changed where asked."""
    text = NIRCAM.table.replace('name = "NIRCAM"', f'name = "{name}"')
    path.write_text(text.replace("0.06275478", scale))
    return path


def test_the_default_is_nircam_and_its_facts_are_the_programs(empty_db_url: str) -> None:
    Registry.init(empty_db_url)
    with Registry(empty_db_url) as registry:
        assert registry.instrument == NIRCAM
    with open_database(empty_db_url) as database, database.read() as connection:
        row = connection.execute(sa.select(InstrumentRow.__table__)).one()
    assert tuple(row) == (1, "NIRCAM", "nircam", None)


def test_facts_of_a_file_are_kept_with_the_data(empty_db_url: str, tmp_path: Path) -> None:
    path = invented(tmp_path / "cam.toml")
    with Registry.create(empty_db_url, instrument=str(path)) as registry:
        assert registry.instrument.name == "INVENTED"
    path.unlink()
    with Registry(empty_db_url) as registry:
        assert registry.instrument.name == "INVENTED"
        assert registry.instrument.source == str(path)
        assert registry.instrument.arrays == NIRCAM.arrays


def test_another_instrument_is_refused(empty_db_url: str, tmp_path: Path) -> None:
    path = invented(tmp_path / "cam.toml")
    Registry.init(empty_db_url, instrument=str(path))
    expected = rf"holds data of INVENTED \({path}\), not of NIRCAM \(nircam\): leave"
    with pytest.raises(ConflictError, match=expected):
        Registry(empty_db_url, instrument="nircam")
    with pytest.raises(ConflictError, match=expected):
        Registry.init(empty_db_url, instrument="nircam")
    assert not Registry.init(empty_db_url).created


def test_other_facts_under_the_same_name_are_refused(empty_db_url: str, tmp_path: Path) -> None:
    path = invented(tmp_path / "cam.toml")
    Registry.init(empty_db_url, instrument=str(path))
    with Registry(empty_db_url, instrument=str(path)) as registry:  # the same again
        assert registry.instrument.name == "INVENTED"
    other = invented(tmp_path / "other.toml", scale="0.07")
    with pytest.raises(
        ConflictError, match=r"another table of it, .*other\.toml \(arrays differ\)"
    ):
        Registry(empty_db_url, instrument=str(other))


def test_an_instrument_that_is_not_there_leaves_no_database(tmp_path: Path) -> None:
    target = tmp_path / "x.sqlite"
    with pytest.raises(UnknownKeyError, match="no instrument table named 'hubble'"):
        Registry.init(str(target), instrument="hubble")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = 3\n")
    with pytest.raises(InvalidValueError, match=r"broken\.toml: .* no \[arrays\]"):
        Registry.init(str(target), instrument=str(broken))
    assert not target.exists()


def test_a_registry_without_its_instrument_is_damaged(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        connection.execute(sa.delete(InstrumentRow))
    with pytest.raises(DatabaseError, match="the table instrument is empty"):
        Registry(db_url)
