"""What every part of the registry stands on: the database, the instrument, how keys are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from calreg.domain import Pmap, SetQuery
from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from calreg.db.engine import Database
    from calreg.instruments import Instrument

PathLike = str | Path

Word = TypeVar("Word", bound=StrEnum)


class RegistryBase:
    """An open database and an instrument."""

    _instrument: Instrument
    _database: Database

    @property
    def url(self) -> str:
        """The database, without password."""
        return self._database.url

    @property
    def instrument(self) -> Instrument:
        """The instrument's arrays, bands and keywords."""
        return self._instrument

    def _band(self, band: str | None) -> str | None:
        """Return the band's name as it is stored."""
        return None if band is None else self._instrument.band_named(band).name

    def _array_id(self, array_id: str | None) -> str | None:
        """Return the array id as it is stored; a detector's name stands for its id."""
        return None if array_id is None else self._instrument.array_id_named(array_id)

    def _set_query(
        self,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        *,
        as_of_utc: datetime | None = None,
    ) -> SetQuery:
        """Read the keys of a question."""
        return SetQuery(
            pmap=optional_pmap(pmap),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            as_of_utc=as_of_utc,
        )


def optional_pmap(pmap: str | Pmap | None) -> Pmap | None:
    """Return a context, or None."""
    return None if pmap is None else Pmap.of(pmap)


def word_of(words: type[Word], text: str, name: str) -> Word:
    """Return one of a few words; the message names those that there are."""
    for word in words:
        if word.lower() == text.strip().lower():
            return word
    msg = f"{name} {text!r}: expected one of {', '.join(words)}"
    raise InvalidValueError(msg)


def as_paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """Return one or several paths as a list."""
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
