"""What `calreg measure` tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.imaging.alignment import describe_alignment

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.pixels.measure.catalog import MeasuredMosaic
    from calreg.pixels.measure.plan import MosaicToMeasure

_OUTSIDE_PERCENT = 1.0
"""Of a mosaic, from which on it is worth a word that no detection image covers it."""


@dataclass(frozen=True)
class MeasuredRow:
    """What became of one mosaic.

    Attributes
    ----------
    state : str
        ``measured``, or ``known`` where the registry had the same image with the same settings.
    depth_mag : float or None
        Five sigma in the fixed aperture [mag AB].
    median_snr : float or None
        Of the isophotal flux.
    outside_percent : float or None
        Part of the pixels with data that no detection image has data for.
    detection : str
        Names of the detection images.
    align : str
        Fitted transformation, empty without ``--align``.
    version : int or None
        Of the isophotal catalog in the registry; None where nothing was stored.
    out : str
        File that was written, if any.
    """

    file: str
    field: str
    epoch: str
    band: str
    array: str
    pmap: str
    state: str
    n_sources: int | None
    n_compact: int | None
    n_flagged: int | None
    depth_mag: float | None
    median_snr: float | None
    outside_percent: float | None
    detection: str
    align: str
    version: int | None
    out: str

    @property
    def detected_on(self) -> str:
        """The detection image, or how many there are."""
        names = self.detection.split()
        if names == [self.file]:
            return "itself"
        return names[0] if len(names) == 1 else f"{len(names)} images"


@dataclass
class MeasureReport:
    """What a call of measure did.

    Attributes
    ----------
    rows : list of MeasuredRow
        In the order of the mosaics.
    is_committed : bool
        Whether the registry was changed.
    """

    rows: list[MeasuredRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_committed: bool = False

    def add(
        self,
        planned: MosaicToMeasure,
        measured: MeasuredMosaic | None,
        *,
        is_known: bool,
        version: int | None,
        out: Path | None,
    ) -> None:
        """Add what became of a mosaic; `measured` is None where its pixels were not read."""
        sources = None if measured is None else measured.sources
        alignment = None if measured is None else measured.alignment
        row = MeasuredRow(
            file=planned.path.name,
            field=planned.epoch.field_name,
            epoch=planned.epoch.name,
            band=planned.stored.band,
            array=planned.stored.array,
            pmap=str(planned.stored.pmap),
            state="known" if is_known else "measured",
            n_sources=None if sources is None else sources.n_sources,
            n_compact=None if measured is None else measured.n_compact,
            n_flagged=None if sources is None else int(np.count_nonzero(sources.flags)),
            depth_mag=None if measured is None else measured.depth_mag,
            median_snr=None if sources is None else float(np.median(sources.snr)),
            outside_percent=None if measured is None else 100.0 * measured.outside,
            detection=" ".join(detection.name for detection in planned.detections),
            align=""
            if measured is None or alignment is None
            else describe_alignment(alignment.to_text(measured.scale_arcsec)),
            version=version,
            out="" if out is None else str(out),
        )
        self.rows.append(row)

    def note_outside(self) -> None:
        """Warn of what no detection image covers."""
        found = [row for row in self.rows if (row.outside_percent or 0.0) > _OUTSIDE_PERCENT]
        if not found:
            return
        worst = max(found, key=lambda row: row.outside_percent or 0.0)
        self.warnings.append(
            f"{len(found)} of {len(self.rows)} mosaics have pixels that no detection image covers, "
            f"up to {worst.outside_percent:.1f} % ({worst.file}); sources there were not measured: "
            "--detect stack finds them"
        )
