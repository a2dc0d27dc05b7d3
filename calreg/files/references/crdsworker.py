"""What the crds package is asked to do, in a process of its own: its settings are global.

Run as ``python -m calreg.files.references.crdsworker``: a JSON order comes on stdin, a JSON answer
goes to stdout; an error is the last line on stderr. Used by `calreg.files.references.crdsoverlay`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def insert(order: dict[str, Any]) -> dict[str, str]:
    """Write mappings that know new reference files; return their names.

    The order has the `folder` of the mappings; `old` and `new`, their names by ``pmap``, ``imap``
    and type of reference; `files`, paths by type of reference.
    """
    from crds.core import rmap

    folder, old, new = Path(order["folder"]), order["old"], order["new"]
    for reftype, paths in order["files"].items():
        mapping = rmap.load_mapping(str(folder / old[reftype]))
        for path in paths:
            mapping = mapping.insert_reference(path)
        _write(mapping, old[reftype], folder / new[reftype])
    imap = rmap.load_mapping(str(folder / old["imap"]))
    for reftype in order["files"]:
        imap.set_item(_key_of(imap, old[reftype]), new[reftype])
    _write(imap, old["imap"], folder / new["imap"])
    pmap = rmap.load_mapping(str(folder / old["pmap"]))
    pmap.set_item(_key_of(pmap, old["imap"]), new["imap"])
    _write(pmap, old["pmap"], folder / new["pmap"])
    return dict(new)


def _key_of(mapping: Any, name: str) -> str:
    """Return the key under which a mapping names another."""
    return next(str(key) for key, value in mapping.selector.items() if value == name)


def _write(mapping: Any, old: str, path: Path) -> None:
    """Write a mapping under a new name, with its checksum."""
    mapping.header["derived_from"] = old
    mapping.header["name"] = path.name
    mapping.write(str(path))


def references(order: dict[str, Any]) -> list[dict[str, str]]:
    """Ask for the best references of some exposures, by type of reference in lower case.

    The order has the `context`, and `requests`: objects with `parameters` and `reftypes`. With
    `only_names` files need not be in the cache.
    """
    import crds

    ask = crds.getrecommendations if order["only_names"] else crds.getreferences
    answers = []
    for request in order["requests"]:
        found = ask(
            request["parameters"],
            reftypes=request["reftypes"],
            context=order["context"],
            observatory="jwst",
        )
        answers.append({key.lower(): Path(str(value)).name for key, value in found.items()})
    return answers


def main() -> None:
    """Do one order."""
    order = json.load(sys.stdin)
    # CRDS prints its log on stderr, and some of it on stdout.
    stdout, sys.stdout = sys.stdout, sys.stderr
    answer = {"insert": insert, "references": references}[order["task"]](order)
    stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
