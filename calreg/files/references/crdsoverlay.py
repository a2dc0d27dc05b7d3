"""A CRDS cache laid over another: links to all that it has, and a context with files of ours.

Names begin with ``jwst_`` as CRDS wants, and end in a private word, ``jwst_1130_idfcal1.pmap``: the
number that the stock tool would give collides with a context to come.

References
----------
CRDS user manual, "Setting up for offline use"; crds 14.0, ``core/rmap.py``, ``jwst/locate.py``.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calreg.errors import FileFormatError, InvalidValueError, MissingExtraError, OutputError
from calreg.files.references.certify import crds_environment
from calreg.files.references.crdscache import OBSERVATORY, CrdsCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from calreg.domain import Pmap
    from calreg.instruments import Instrument

_NAME = re.compile(r"[a-z][a-z0-9]{2,30}")
_OFFICIAL = re.compile(r"(jwst|hst|roman|pmap|latest|edit|build|ops|prod|operational|version).*")
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class OverlayNames:
    """Names of the mappings, old and new, by ``pmap``, ``imap`` and reference type."""

    old: dict[str, str]
    new: dict[str, str]

    @property
    def context(self) -> str:
        """The context to process with."""
        return self.new["pmap"]


def check_overlay_name(name: str) -> str:
    """Return the private word of an overlay's names, unless CRDS could not use it.

    Raises
    ------
    InvalidValueError
        If it is not usable, or could be taken for an official context.
    """
    if _NAME.fullmatch(name) is None:
        msg = (
            f"context name {name!r}: expected 3 to 31 lower-case letters and digits, a letter first"
            ", such as idfcal1 (digits alone look like an official context)"
        )
        raise InvalidValueError(msg)
    if _OFFICIAL.fullmatch(name) is not None:
        msg = f"context name {name!r} looks like an official context; expected one such as idfcal1"
        raise InvalidValueError(msg)
    return name


def require_crds() -> None:
    """Refuse to go on without the crds package."""
    try:
        importlib.metadata.version("crds")
    except importlib.metadata.PackageNotFoundError as error:
        msg = "a CRDS context needs the crds package: pip install 'calreg[validate]'"
        raise MissingExtraError(msg) from error


def require_cache(cache: CrdsCache, pmap: Pmap) -> None:
    """Refuse a folder that is no synced CRDS cache with a context."""
    for path in (_config(cache.path) / "server_config", cache.mappings / pmap.name):
        if not path.is_file():
            msg = (
                f"{cache.path}: no {path.relative_to(cache.path)}; expected a CRDS cache with "
                f"{pmap.name}: sync it with crds sync --contexts {pmap.name}"
            )
            raise FileFormatError(msg)


def overlay_names(
    cache: CrdsCache, pmap: Pmap, name: str, reftypes: Sequence[str], instrument: Instrument
) -> OverlayNames:
    """Return the names of the mappings that change, which end in a private word.

    Raises
    ------
    FileFormatError, UnknownKeyError
        If a mapping is missing or cannot be read.
    InvalidValueError
        If the cache has a name already.
    """
    old = {"pmap": pmap.name, "imap": cache.imap_name(pmap, instrument)}
    old |= {reftype: cache.rmap_name(pmap, reftype, instrument) for reftype in reftypes}
    new = {}
    for key, old_name in old.items():
        stem, suffix = old_name.rsplit(".", 1)
        new[key] = f"{stem}_{name}.{suffix}"
    taken = [one for one in new.values() if (cache.mappings / one).exists()]
    if taken:
        msg = f"{cache.path} has {taken[0]} already; expected a new --name"
        raise InvalidValueError(msg)
    return OverlayNames(old, new)


def link_cache(cache: CrdsCache, overlay: Path, instrument: Instrument) -> Path:
    """Make a cache of links to another in a new folder; return where files of ours belong.

    Files of the instrument are linked one by one, so that others may stand beside them; folders of
    other instruments are links.
    """
    below = CrdsCache(overlay)
    own = instrument.name.lower()
    is_flat = not (cache.references / own).is_dir()
    try:
        shutil.copytree(_config(cache.path), _config(overlay))
        _link_all(cache.mappings, below.mappings)
        _link_all(cache.references, below.references, skip=own)
        if is_flat:
            return below.references
        _link_all(cache.references / own, below.references / own)
    except OSError as error:
        msg = f"cannot link {cache.path} into {overlay}: {error.strerror or error}"
        raise OutputError(msg) from error
    return below.references / own


def _config(path: Path) -> Path:
    """Return the folder of a cache's settings."""
    return path / "config" / OBSERVATORY


def _link_all(source: Path, target: Path, skip: str = "") -> None:
    """Link everything in a folder from another."""
    target.mkdir(parents=True)
    if source.is_dir():
        for entry in source.iterdir():
            if entry.name != skip:
                (target / entry.name).symlink_to(entry.resolve())


def write_mappings(
    overlay: Path, names: OverlayNames, files: Mapping[str, Sequence[Path]]
) -> list[Path]:
    """Have CRDS write mappings that choose files of ours, by type of reference; return them."""
    folder = CrdsCache(overlay).mappings
    order = {
        "task": "insert",
        "folder": str(folder),
        "old": names.old,
        "new": names.new,
        "files": {reftype: [str(path) for path in paths] for reftype, paths in files.items()},
    }
    _ask(overlay, order)
    return [folder / name for name in names.new.values()]


def best_references(
    overlay: Path,
    context: str,
    requests: Sequence[Mapping[str, Any]],
    *,
    only_names: bool = False,
) -> list[dict[str, str]]:
    """Ask CRDS itself which files a context takes, by type of reference in lower case.

    Each request has `parameters` and `reftypes`. With `only_names` the files need not be in the
    cache.
    """
    order = {
        "task": "references",
        "context": context,
        "requests": list(requests),
        "only_names": only_names,
    }
    answers: list[dict[str, str]] = _ask(overlay, order)
    return answers


def _ask(cache: Path, order: dict[str, Any]) -> Any:
    """Have a process of its own do an order on a cache, without a server."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "calreg.files.references.crdsworker"],
            input=json.dumps(order),
            env=crds_environment(cache),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"crds did not end within {_TIMEOUT_S:.0f} s; nothing was written"
        raise OutputError(msg) from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        msg = f"crds failed, nothing was written: {lines[-1].strip() if lines else 'no message'}"
        raise OutputError(msg)
    return json.loads(done.stdout)
