"""Have the real packages check reference files: strict validation, and CRDS certify.

Both are optional (extra `validate`); what is not installed is not asked. CRDS runs in a process of
its own, on a cache that is made for the call: it needs no network, no cache of the user's, and its
settings are global to a process.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from calreg.errors import OutputError
from calreg.files.references.crdscache import OBSERVATORY

if TYPE_CHECKING:
    from collections.abc import Mapping

VALIDATOR = "stdatamodels"
CERTIFIER = "crds"

_CONTEXT = "jwst_0001.pmap"
_TIMEOUT_S = 600.0
_PARKEYS = {
    "PHOTOM": "('META.INSTRUMENT.DETECTOR', 'META.EXPOSURE.TYPE')",
    "FLAT": "('META.INSTRUMENT.DETECTOR', 'META.INSTRUMENT.FILTER', 'META.INSTRUMENT.PUPIL')",
}


def available_checkers() -> list[str]:
    """Return the installed packages that check files, with their versions."""
    found = []
    for name in (VALIDATOR, CERTIFIER):
        # Not find_spec: a folder named crds in the user's path would pass for the package.
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found


def check_with_packages(files: Mapping[str, Path], models: Mapping[str, str]) -> list[str]:
    """Validate and certify files with the packages that are installed, and name these.

    Parameters
    ----------
    files : mapping of str to Path
        Name that a file will have -> where it is now.
    models : mapping of str to str
        Name -> data model, ``NrcImgPhotomModel`` or ``FlatModel``.

    Raises
    ------
    OutputError
        With the first objection.
    """
    checkers = available_checkers()
    if not checkers or not files:
        return []
    with tempfile.TemporaryDirectory(prefix="calreg-") as folder:
        named = {name: Path(folder, name) for name in files}
        for name, link in named.items():
            link.symlink_to(files[name].resolve())
        if any(checker.startswith(VALIDATOR) for checker in checkers):
            for name, link in named.items():
                _validate(link, models[name])
        if any(checker.startswith(CERTIFIER) for checker in checkers):
            _certify(list(named), Path(folder))
    return checkers


def crds_environment(cache: Path) -> dict[str, str]:
    """Return the environment of a process that works on one cache, without the user's settings."""
    others = {
        key: value for key, value in os.environ.items() if not key.upper().startswith("CRDS_")
    }
    return others | {"CRDS_PATH": str(cache.resolve()), "CRDS_OBSERVATORY": OBSERVATORY}


def _validate(path: Path, model: str) -> None:
    """Open a file as its data model with strict validation."""
    datamodels = importlib.import_module("stdatamodels.jwst.datamodels")

    try:
        with warnings.catch_warnings():
            # What is wrong is raised; warnings are about the packages themselves.
            warnings.simplefilter("ignore")
            with getattr(datamodels, model)(path, strict_validation=True) as opened:
                opened.validate()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        msg = f"{path.name} failed strict validation by {VALIDATOR} and was removed: {reason}"
        raise OutputError(msg) from error


def _certify(names: list[str], folder: Path) -> None:
    """Run certify on files of a folder."""
    cache = folder / "cache"
    _write_cache(cache)
    environment = crds_environment(cache) | {"CRDS_IGNORE_MAPPING_CHECKSUM": "1"}
    # Files of one call may be alternatives, such as cut-outs of one flat: no trial of an rmap.
    options = ("--comparison-context", _CONTEXT, "--dont-check-rmap-updates")
    command = [sys.executable, "-m", "crds.certify", *options]
    # The exit status is the number of errors.
    try:
        finished = subprocess.run(  # noqa: S603 - our own interpreter and names
            [*command, *(f"./{name}" for name in names)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{CERTIFIER} certify did not end within {_TIMEOUT_S:.0f} s; nothing was written"
        raise OutputError(msg) from error
    if finished.returncode != 0:
        lines = (finished.stdout + finished.stderr).splitlines()
        objections = [line.strip() for line in lines if "ERROR" in line] or lines[-1:]
        msg = f"{CERTIFIER} certify refused the files made, which were removed: {objections[0]}"
        raise OutputError(msg)


def _write_cache(cache: Path) -> None:
    """Write the least that certify needs: a context with an empty rmap per type."""
    mappings = cache / "mappings" / "jwst"
    config = cache / "config" / "jwst"
    for folder in (mappings, config, cache / "references" / "jwst"):
        folder.mkdir(parents=True)
    settings = {"observatory": "jwst", "operational_context": _CONTEXT, "last_synced": ""}
    (config / "server_config").write_text(repr(settings))
    shared = "'derived_from': 'calreg', 'observatory': 'JWST', 'sha1sum': '',"
    (mappings / _CONTEXT).write_text(
        f"header = {{'mapping': 'PIPELINE', 'name': '{_CONTEXT}', {shared}\n"
        "'parkey': ('META.INSTRUMENT.NAME',)}\n"
        "selector = {'NIRCAM': 'jwst_nircam_0001.imap'}\n"
    )
    names = {reftype: f"jwst_nircam_{reftype.lower()}_0001.rmap" for reftype in _PARKEYS}
    (mappings / "jwst_nircam_0001.imap").write_text(
        f"header = {{'mapping': 'INSTRUMENT', 'name': 'jwst_nircam_0001.imap', {shared}\n"
        f"'instrument': 'NIRCAM', 'parkey': ('REFTYPE',)}}\nselector = {names!r}\n"
    )
    for reftype, name in names.items():
        (mappings / name).write_text(
            f"header = {{'mapping': 'REFERENCE', 'name': '{name}', {shared}\n"
            f"'classes': ('Match', 'UseAfter'), 'filekind': '{reftype}', 'instrument': 'NIRCAM',\n"
            f"'parkey': ({_PARKEYS[reftype]},\n"
            "('META.OBSERVATION.DATE', 'META.OBSERVATION.TIME'))}\n"
            "selector = Match({\n})\n"
        )
