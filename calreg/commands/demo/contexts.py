"""``calreg demo --contexts``: the published offsets carried to later contexts, on real numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.commands.common import GlobalOptions, OutputFormat, log, open_registry
from calreg.commands.contexts import prediction_summary
from calreg.commands.output import Column, print_rows

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.commands.demo.session import Session
    from calreg.contexts.prediction import Prediction

_SOURCE = "Ma et al. 2024, Table 3"
_FROM = "jwst_1130.pmap"
_EQUAL_TO = "jwst_1298.pmap"
_REASON = (
    "believed, not recorded: NRCB1 F200W is 2.0560 under jwst_1126 and under jwst_1298, and no "
    "source tells of a change of PHOTMJSR between them"
)
_CARRIED = (
    ("F200W", "jwst_1568.pmap"),
    ("F150W", "jwst_1595.pmap"),
    ("F356W", "jwst_1581.pmap"),
    ("F444W", "jwst_1581.pmap"),
)
"""The latest context that PHOTMJSR of a band are recorded of."""

_COLUMNS = [
    Column("band", "band"),
    Column("array_id", "array"),
    Column("to_pmap", "today"),
    Column("offset_ab_mag", "published A-B [mag]", "+.4f"),
    Column("change_ab_mag", "change since", "+.4f"),
    Column("predicted_offset_ab_mag", "remains", "+.4f"),
    Column("predicted_err_mag", "error", ".4f"),
    Column("old_correction_error_percent", "old correction errs by [%]", "+.1f"),
    Column("status", "status"),
]


def run_contexts(session: Session, url: str, directory: Path) -> None:
    """Run the session on the facts that calreg ships."""
    from calreg.facts.published import copy_facts

    directory.mkdir(parents=True, exist_ok=True)
    offsets, photmjsr, references = copy_facts(directory)
    log("real numbers: published offsets, and PHOTMJSR that are on record; sources in the files")
    session.run("db", "init")
    session.run("import", "recipe", str(offsets), "--pmap", _FROM, "--source", _SOURCE)
    session.run("ingest", str(photmjsr), str(references))
    session.run("diff", "jwst_0989.pmap", "jwst_1126.pmap", "--band", "F200W")
    session.run("predict", "--from", _FROM, "--to", "jwst_1568.pmap", "--band", "F200W")
    session.run("pmap", "equal", _FROM, _EQUAL_TO, "--reason", _REASON)
    for band, pmap in _CARRIED:
        session.run("predict", "--from", _FROM, "--to", pmap, "--band", band)
    session.run("history", "--band", "F150W", "--array", "4", *_plot(directory))
    with open_registry(GlobalOptions(url), read_only=True) as registry:
        rows = [
            row
            for band, pmap in _CARRIED
            for row in registry.predict(pmap, pmap_from=_FROM, band=band)
        ]
    _tell(rows)


def _plot(directory: Path) -> tuple[str, ...]:
    """Ask for a figure where matplotlib is installed."""
    from calreg.errors import MissingExtraError
    from calreg.plots.style import require_matplotlib

    try:
        require_matplotlib()
    except MissingExtraError as error:
        log(f"without a figure: {error}")
        return ()
    return ("--plot", str(directory / "history_f150w_array4.png"))


def _tell(rows: list[Prediction]) -> None:
    """Report per key what remains, what is unknown, and what the old correction does today."""
    title = f"\nThe ten offsets published for {_FROM}, and what is left of them"
    print_rows(rows, _COLUMNS, OutputFormat.TABLE, title=title)
    for line in prediction_summary(rows):
        log(line)
    for row in rows:
        if row.predicted_offset_ab_mag is None:
            log(f"unknown: {row.band} array {row.array_id}: {row.reason}")
    log(
        f"all of this rests on {_FROM} = {_EQUAL_TO} in PHOTMJSR, which is declared and not "
        "recorded; flats and pixel areas are not in these numbers"
    )
