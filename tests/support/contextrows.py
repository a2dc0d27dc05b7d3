"""Contexts, zero points and offsets as rows, for tests of what is carried across contexts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.queries.contexts import insert_equality, insert_new_references
from calreg.db.schema import ExternalSolutionRow, IngestRow, PmapRow, ZeroPointRow
from calreg.domain import Pmap, ReferenceChoice, ReferenceKind
from calreg.science.zeropoints import single_precision
from support.registryrows import DIGEST, MOMENT, add

if TYPE_CHECKING:
    from calreg.db.engines.columns import ColumnValue


@dataclass
class ContextRows:
    """Writes rows, with the contexts that they need."""

    connection: sa.Connection
    _ids: dict[str, int] = field(default_factory=dict)

    def pmap_id(self, pmap: str) -> int:
        """Return the id of a context, which is made when it is first named."""
        number = Pmap.parse(pmap).number
        found = self.connection.scalar(sa.select(PmapRow.id).where(PmapRow.number == number))
        return found or add(self.connection, PmapRow, name=Pmap(number).name, number=number)

    @property
    def ingest_id(self) -> int:
        """The one ingest of all rows."""
        if "ingest" not in self._ids:
            self._ids["ingest"] = add(self.connection, IngestRow)
        return self._ids["ingest"]

    def photmjsr(self, pmap: str, array: str, value: float, **values: ColumnValue) -> None:
        """Write a PHOTMJSR, of F200W in a header unless told otherwise."""
        plain: dict[str, ColumnValue] = {
            "filter": "F200W",
            "pupil": "CLEAR",
            "band": "F200W",
            "subarray": "FULL",
            "source": "cal header",
            "kind": "header",
            "photmjsr_half_width": single_precision(value).half_width,
        }
        pixar_sr = values.get("pixar_sr")
        if isinstance(pixar_sr, float):
            plain["pixar_half_width_sr"] = single_precision(pixar_sr).half_width
        add(
            self.connection,
            ZeroPointRow,
            pmap_id=self.pmap_id(pmap),
            ingest_id=self.ingest_id,
            array=array,
            photmjsr=value,
            **{**plain, **values},
        )

    def solution(self, pmap: str, offset_mag: float, err_mag: float, **values: ColumnValue) -> None:
        """Write an external solution, of F200W array 1 unless told otherwise."""
        plain: dict[str, ColumnValue] = {
            "source": "published",
            "band": "F200W",
            "array_id": "1",
            "offset_a_mag": offset_mag,
            "offset_b_mag": 0.0,
            "slope_mag_arcmin": 0.0,
            "slope_err_mag_arcmin": 0.0,
            "file_sha256": DIGEST,
            "sense": "multiply",
            "method": "star",
            "state": "measured",
            "datum": "given",
        }
        add(
            self.connection,
            ExternalSolutionRow,
            pmap_id=self.pmap_id(pmap),
            ingest_id=self.ingest_id,
            offset_ab_mag=offset_mag,
            offset_ab_err_mag=err_mag,
            **{**plain, **values},
        )

    def reference(self, pmap: str, array: str, kind: str, file_name: str, **values: str) -> None:
        """Write a reference file of every band, from one mapping, unless told otherwise."""
        plain = {"filter": "", "pupil": "", "useafter": "", "source": "mapping"}
        reference = ReferenceChoice(
            pmap=Pmap.parse(pmap),
            array=array,
            kind=ReferenceKind(kind),
            file_name=file_name,
            **(plain | values),
        )
        insert_new_references(self.connection, [reference], lambda: self.ingest_id)

    def equality(self, pmap_1: str, pmap_2: str, reason: str) -> None:
        """Declare two contexts equal."""
        insert_equality(
            self.connection,
            (Pmap.parse(pmap_1), Pmap.parse(pmap_2)),
            reason=reason,
            declared_utc=MOMENT,
            code_version="test",
        )
