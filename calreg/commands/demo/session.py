"""What the sessions of ``calreg demo`` share: typed commands, and truth beside result."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from calreg.commands.common import OutputFormat, log
from calreg.commands.output import Column, print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.registry import Registry
    from calreg.simulation.simulate import Programme


@dataclass(frozen=True)
class TruthRow:
    """What was injected beside what came back."""

    pmap: str
    band: str
    array_id: str
    true_offset_ab_mag: float
    offset_ab_mag: float
    offset_ab_err_mag: float
    pull: float
    true_slope_mag_arcmin: float
    slope_mag_arcmin: float
    slope_err_mag_arcmin: float
    slope_pull: float | None


_COLUMNS = [
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("array_id", "array"),
    Column("true_offset_ab_mag", "true offset A-B [mag]", "+.5f"),
    Column("offset_ab_mag", "fitted", "+.5f"),
    Column("offset_ab_err_mag", "error", ".5f"),
    Column("pull", "pull", "+.2f"),
    Column("true_slope_mag_arcmin", "true slope [mag/arcmin]", "+.5f", is_fixed_at_zero=True),
    Column("slope_mag_arcmin", "fitted", "+.5f", is_fixed_at_zero=True),
    Column("slope_err_mag_arcmin", "error", ".5f", is_fixed_at_zero=True),
    Column("slope_pull", "pull", "+.2f"),
]


class Session:
    """Runs commands as a user would, and shows what was typed."""

    def __init__(self, context: typer.Context, url: str) -> None:
        self._command = context.find_root().command
        self._url = url

    def run(self, *words: str, shown: str | None = None) -> None:
        """Show and run one command line; `shown` stands for what the shell would expand."""
        text = " ".join(shlex.quote(word) for word in words) if shown is None else shown
        log(f"\n$ calreg {text}")
        status = self._command.main(["--db", self._url, *words], standalone_mode=False)
        if status:
            raise typer.Exit(status)


def require_new_folder(directory: Path) -> None:
    """Refuse a folder that holds anything."""
    from calreg.errors import OutputError

    if directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty: name a new folder, such as calreg demo {directory}-2"
        raise OutputError(msg)


def truth_rows(
    registry: Registry, programme: Programme, *, flux_kind: str | None = None
) -> list[TruthRow]:
    """Set the current sets beside what was injected."""
    truth = {(true.pmap, true.band, true.array_id): true for true in programme.truth}
    rows = []
    for found in registry.coefficients():
        if flux_kind is not None and found.flux_kind != flux_kind:
            continue
        true = truth[found.pmap, found.band, found.array_id]
        slope_difference = found.slope_mag_arcmin - true.slope_mag_arcmin
        has_slope = found.slope_err_mag_arcmin > 0.0
        rows.append(
            TruthRow(
                pmap=found.pmap,
                band=found.band,
                array_id=found.array_id,
                true_offset_ab_mag=true.offset_ab_mag,
                offset_ab_mag=found.offset_ab_mag,
                offset_ab_err_mag=found.offset_ab_err_mag,
                pull=(found.offset_ab_mag - true.offset_ab_mag) / found.offset_ab_err_mag,
                true_slope_mag_arcmin=true.slope_mag_arcmin,
                slope_mag_arcmin=found.slope_mag_arcmin,
                slope_err_mag_arcmin=found.slope_err_mag_arcmin,
                slope_pull=slope_difference / found.slope_err_mag_arcmin if has_slope else None,
            )
        )
    return rows


def print_truth(rows: Sequence[TruthRow]) -> None:
    """Print the truth beside the result, and how far apart they are."""
    print_rows(rows, _COLUMNS, OutputFormat.TABLE, title="\nInjected truth beside the result")
    pulls = [row.pull for row in rows]
    pulls += [row.slope_pull for row in rows if row.slope_pull is not None]
    rms = (sum(pull**2 for pull in pulls) / len(pulls)) ** 0.5
    worst = max(abs(row.pull) for row in rows)
    log(f"rms of {len(pulls)} pulls: {rms:.2f}; the offset farthest off: {worst:.2f} sigma")
