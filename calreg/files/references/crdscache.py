"""Read a local CRDS cache without the crds package: which file a context takes for an exposure.

A context (pmap) names an instrument's mapping (imap), which names one mapping per type of reference
file (rmap). These are Python text, ``header = {...}`` and ``selector = ...``; they are parsed here,
never run. An rmap matches a tuple of keys, then takes the file with the latest USEAFTER that is not
after the exposure.

References
----------
CRDS user manual, "Mappings (rules) and selectors"; crds 14.0, ``core/selectors.py``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from calreg.errors import FileFormatError, UnknownKeyError
from calreg.files.readguard import require_shallow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from calreg.domain import Pmap
    from calreg.instruments import Instrument

PATH_VARIABLE = "CRDS_PATH"
OBSERVATORY = "jwst"

DETECTOR = "META.INSTRUMENT.DETECTOR"
FILTER = "META.INSTRUMENT.FILTER"
PUPIL = "META.INSTRUMENT.PUPIL"
EXPOSURE_TYPE = "META.EXPOSURE.TYPE"
CHANNEL = "META.INSTRUMENT.CHANNEL"
MODULE = "META.INSTRUMENT.MODULE"

_WILD = {"*", "ANY", "N/A", "UNDEFINED"}
_HINT = "give the reference files with --parent"


@dataclass(frozen=True)
class _Selector:
    """A selector of an rmap: its class, and what it chooses from."""

    kind: str
    choices: dict[object, object]


@dataclass(frozen=True)
class _Map:
    """One mapping file."""

    path: Path
    header: dict[str, object]
    selector: dict[object, object] | _Selector


@dataclass(frozen=True)
class CrdsCache:
    """A folder as CRDS lays it out."""

    path: Path

    @property
    def mappings(self) -> Path:
        """Where the mappings are."""
        return self.path / "mappings" / OBSERVATORY

    @property
    def references(self) -> Path:
        """Where the reference files are, flat or by instrument."""
        return self.path / "references" / OBSERVATORY

    def file_of(self, name: str, instrument: Instrument) -> Path | None:
        """Return where a reference file is, None where the cache does not have it."""
        places = (self.references / instrument.name.lower() / name, self.references / name)
        return next((place for place in places if place.is_file()), None)

    def has_context(self, pmap: Pmap) -> bool:
        """Tell whether the cache has a context."""
        return (self.mappings / pmap.name).is_file()

    def imap_name(self, context: Pmap | str, instrument: Instrument) -> str:
        """Return the mapping of a context for an instrument; raises as `rmap_name` does."""
        return self._follow(context, (instrument.name,))

    def rmap_name(self, context: Pmap | str, reftype: str, instrument: Instrument) -> str:
        """Return the rmap of a context, a private one by its name, for a type of reference file.

        Raises
        ------
        UnknownKeyError
            If the context has none.
        FileFormatError
            If a mapping is missing or cannot be read.
        """
        return self._follow(context, (instrument.name, reftype))

    def _follow(self, context: Pmap | str, keys: Sequence[str]) -> str:
        """Return the name of the mapping that a context leads to."""
        name = context if isinstance(context, str) else context.name
        for key in keys:
            opened = _read_map(self.mappings / name)
            name = _entry(opened, key)
            if not name:
                msg = f"{opened.path}: no entry for {key}; {_HINT}"
                raise UnknownKeyError(msg)
        return name

    def reference_name(
        self,
        context: Pmap | str,
        reftype: str,
        keys: Mapping[str, str],
        moment: datetime,
        instrument: Instrument,
    ) -> str:
        """Return the name of the file that a context takes for exposures of one time.

        Parameters
        ----------
        context : Pmap or str
            A private name as it is.
        reftype : str
            ``PHOTOM`` or ``FLAT``.
        keys : mapping of str to str
            Matching parameters such as `DETECTOR` and their values; more than are used do no harm.
        moment : datetime
            Begin of the exposure (aware, UTC).

        Raises
        ------
        UnknownKeyError
            If the context has no file for them.
        FileFormatError
            If a mapping is missing, or is of a kind that is not known here.
        """
        rmap = _read_map(self.mappings / self.rmap_name(context, reftype, instrument))
        use_after = _matched(rmap, keys)
        stamp = f"{moment:%Y-%m-%d %H:%M:%S}"
        names = {str(start): name for start, name in use_after.choices.items()}
        valid = [start for start in names if start <= stamp]
        asked = " ".join(keys.values())
        if not valid:
            msg = f"{rmap.path}: no file for {asked} at {stamp}; {_HINT}"
            raise UnknownKeyError(msg)
        chosen = names[max(valid)]
        if not isinstance(chosen, str):
            raise FileFormatError(_not_known(rmap, f"a nested choice for {asked}"))
        return chosen


@dataclass(frozen=True)
class ContextMapping:
    """A mapping that stands for a context (a pmap), or for types of reference file.

    Attributes
    ----------
    rmaps : dict of str to Path
        Mapping by type of reference file, in lower case.
    """

    name: str
    is_context: bool
    rmaps: dict[str, Path]


def read_context_mapping(
    path: Path, reftypes: Sequence[str], instrument: Instrument
) -> ContextMapping:
    """Follow a pmap, an imap or an rmap of a cache to the rmaps of an instrument.

    `reftypes` are in lower case.

    Raises
    ------
    FileFormatError
        If a mapping is missing or cannot be read, or none of these types is in it.
    """
    opened = _read_map(path)
    kind = str(opened.header.get("mapping", "")).upper()
    if kind == "PIPELINE":
        imap = _entry(opened, instrument.name)
        rmaps = _rmaps(_read_map(path.parent / imap), reftypes) if imap else {}
    elif kind == "INSTRUMENT":
        rmaps = _rmaps(opened, reftypes)
    else:
        filekind = str(opened.header.get("filekind", "")).lower()
        is_ours = str(opened.header.get("instrument", "")).upper() == instrument.name
        rmaps = {filekind: path} if filekind in reftypes and is_ours else {}
    if not rmaps:
        msg = (
            f"{path}: no {', '.join(reftypes)} mapping of {instrument.name}; give a pmap, or the "
            "rmap of one of these"
        )
        raise FileFormatError(msg)
    return ContextMapping(path.name, kind == "PIPELINE", rmaps)


def references_of(path: Path, wanted: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return which files an rmap has for several sets of matching parameters.

    Returns
    -------
    list of dict of str to str
        File by USEAFTER, an empty text where it has no dates; empty where it has no file.

    Raises
    ------
    FileFormatError
        If the rmap cannot be read, or is of a kind that is not known here.
    """
    rmap = _read_map(path)
    found: list[dict[str, str]] = []
    for keys in wanted:
        try:
            choice = _chosen(rmap, keys)
        except UnknownKeyError:
            found.append({})
            continue
        by_date = choice.choices if isinstance(choice, _Selector) else {"": choice}
        found.append({str(start): name for start, name in by_date.items() if _is_file_name(name)})
    return found


def _rmaps(imap: _Map, reftypes: Sequence[str]) -> dict[str, Path]:
    """Return the rmaps that an instrument's mapping names."""
    names = {reftype: _entry(imap, reftype) for reftype in reftypes}
    return {reftype: imap.path.parent / name for reftype, name in names.items() if name}


def _entry(opened: _Map, key: str) -> str:
    """Return the mapping that another names for a key, empty if there is none."""
    names = opened.selector if isinstance(opened.selector, dict) else {}
    found = next((v for k, v in names.items() if str(k).upper() == key.upper()), None)
    return found if _is_file_name(found) else ""


def _is_file_name(value: object) -> TypeGuard[str]:
    """Return whether a value names a file; N/A stands for none."""
    return isinstance(value, str) and "." in value


def _matched(rmap: _Map, keys: Mapping[str, str]) -> _Selector:
    """Return the choice by time for some keys."""
    choice = _chosen(rmap, keys)
    if not isinstance(choice, _Selector):
        raise FileFormatError(_not_known(rmap, f"no UseAfter for {' '.join(keys.values())}"))
    return choice


def _chosen(rmap: _Map, keys: Mapping[str, str]) -> _Selector | str:
    """Return the closest match for some keys: a choice by time, or one file."""
    parkeys = rmap.header.get("parkey")
    first = parkeys[0] if isinstance(parkeys, tuple) and parkeys else ()
    names = [str(name).upper() for name in (first if isinstance(first, tuple) else (first,))]
    if not isinstance(rmap.selector, _Selector) or rmap.selector.kind != "Match":
        raise FileFormatError(_not_known(rmap, "no Match"))
    found: dict[int, list[object]] = {}
    for key, choice in rmap.selector.choices.items():
        values = [str(value) for value in (key if isinstance(key, tuple) else (key,))]
        if len(values) != len(names):
            raise FileFormatError(_not_known(rmap, f"a match of {len(values)} values"))
        weight = _weight(rmap, dict(zip(names, values, strict=True)), keys)
        if weight is not None:
            found.setdefault(weight, []).append(choice)
    asked = " ".join(keys.values())
    if not found:
        msg = f"{rmap.path}: no entry for {asked}; {_HINT}"
        raise UnknownKeyError(msg)
    best = found[max(found)]
    if len(best) > 1:
        raise FileFormatError(_not_known(rmap, f"{len(best)} equal matches for {asked}"))
    choice = best[0]
    if isinstance(choice, str) or (isinstance(choice, _Selector) and choice.kind == "UseAfter"):
        return choice
    raise FileFormatError(_not_known(rmap, f"no UseAfter for {asked}"))


def _weight(rmap: _Map, entry: Mapping[str, str], keys: Mapping[str, str]) -> int | None:
    """Return how closely an entry matches, None where it does not."""
    weight = 0
    for name, value in entry.items():
        if value.upper() in _WILD:
            continue
        if name not in keys:
            raise FileFormatError(_not_known(rmap, f"a choice by {name}"))
        alternatives = {one.strip().upper() for one in value.split("|")}
        if keys[name].upper() not in alternatives:
            return None
        weight += 1
    return weight


def _not_known(rmap: _Map, what: str) -> str:
    """Report that an rmap uses something unknown here."""
    return f"{rmap.path}: {what}, which calreg cannot follow; {_HINT}"


def _read_map(path: Path) -> _Map:
    """Parse a mapping."""
    try:
        content = path.read_bytes()
        require_shallow(path, content)
        tree = ast.parse(content.decode("utf-8"))
        values = {name: _value(node) for name, node in _assignments(tree)}
    except OSError as error:
        msg = (
            f"{path}: {error.strerror or error}; the cache lacks a mapping: sync it "
            f"(crds sync --contexts PMAP), or {_HINT}"
        )
        raise FileFormatError(msg) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError) as error:
        msg = f"{path}: not a CRDS mapping ({' '.join(str(error).split())[:200]}); {_HINT}"
        raise FileFormatError(msg) from error
    header, selector = values.get("header"), values.get("selector")
    if not isinstance(header, dict) or not isinstance(selector, dict | _Selector):
        msg = f"{path}: not a CRDS mapping (no header and selector); {_HINT}"
        raise FileFormatError(msg)
    return _Map(path, {str(key): value for key, value in header.items()}, selector)


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a mapping assigns, with their expressions."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _value(node: ast.expr) -> object:
    """Return a literal, a dictionary, or a selector."""
    match node:
        case ast.Call(func=ast.Name(id=kind), args=[ast.Dict() as inner], keywords=[]):
            choices = _value(inner)
            if isinstance(choices, dict):
                return _Selector(kind, choices)
            msg = f"{kind} without choices"
            raise ValueError(msg)
        case ast.Dict(keys=keys, values=values):
            return {
                ast.literal_eval(key): _value(value)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case _:
            return ast.literal_eval(node)
