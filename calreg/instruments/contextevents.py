"""What is on record about contexts: a dated table per instrument, shipped as data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from calreg.domain import Pmap


@dataclass(frozen=True)
class ContextEvent:
    """Something that a source says about a context, or about an unnamed one.

    Attributes
    ----------
    pmap : Pmap or None
        None where no source names the context.
    date : str
        As far as it is known; empty if not at all.
    confidence : str
        ``stated``: a source says so of this context; ``by date``: concluded from dates alone; ``in
        use``: seen in files, without a statement of what changed.
    """

    pmap: Pmap | None
    date: str
    what: str
    source: str
    confidence: str


@cache
def load_context_events(instrument: str = "nircam") -> tuple[ContextEvent, ...]:
    """Return the events on record, in the order of the table.

    Returns
    -------
    tuple of ContextEvent
        Empty for an instrument without such a table.
    """
    path = resources.files(__package__) / f"{instrument.lower()}_contexts.toml"
    if not path.is_file():
        return ()
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        ContextEvent(
            pmap=Pmap(entry["pmap"]) if "pmap" in entry else None,
            date=entry.get("date", ""),
            what=entry["what"],
            source=entry["source"],
            confidence=entry["confidence"],
        )
        for entry in table["contexts"]
    )
