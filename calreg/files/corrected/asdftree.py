"""Change numbers in the ASDF tree of a jwst file, and leave every other byte of it as it is.

The tree is YAML text in front of binary blocks (ASDF standard 1.6, "Low-level file layout").
Reading it with package asdf and writing it again would give every object the version of that
package, and needs gwcs and others besides. Here the text of a few numbers is replaced, and the
block index at the end, which holds positions in the file, follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from calreg.errors import FileFormatError
from calreg.files.readguard import require_shallow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_END_OF_TREE = re.compile(rb"\n\.\.\.\r?\n")
_BLOCK_INDEX = b"#ASDF BLOCK INDEX"
_NUMBER = re.compile(rb"\d+")
_PHOTOMETRY = ("meta", "photometry")
_PIXELS = ("data", "err", "var_poisson", "var_rnoise", "var_flat")
_FROM_FITS = "fits:"
# libyaml reads a tree of 50 kB in 10 ms, the parser in Python in half a second.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class _Scalar:
    """A number in the text: its bytes from `start` to `end`."""

    start: int
    end: int


class AsdfTree:
    """The tree of one file.

    Parameters
    ----------
    content : bytes
        The ASDF extension's data.

    Raises
    ------
    FileFormatError
        If the tree cannot be read, or holds pixels itself instead of references to HDUs.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        self._content = content
        self._path = path
        found = _END_OF_TREE.search(content)
        if not content.startswith(b"#ASDF") or found is None:
            raise self._unreadable("it does not begin with '#ASDF' and end its tree with '...'")
        self._tree_end = found.start() + 1
        try:
            # The parser in C goes down by recursion, and its stack has an end.
            require_shallow(path, content[: self._tree_end])
            text = content[: self._tree_end].decode("utf-8")
            root = yaml.compose(text, Loader=_LOADER)
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise self._unreadable(" ".join(str(error).split())[:160]) from error
        self._require_references(root)
        self._scalars = self._find_scalars(root, text)

    def get(self, key: str) -> str | None:
        """Return a number of ``meta.photometry`` as it is written; None if it is not there."""
        scalar = self._scalars.get(key)
        return None if scalar is None else self._content[scalar.start : scalar.end].decode("ascii")

    def replaced(self, values: Mapping[str, str]) -> bytes:
        """Return the extension's data with other numbers in ``meta.photometry``.

        Parameters
        ----------
        values : mapping of str to str
            By key; keys that are not in the tree are passed over.
        """
        content = self._content
        changes = [
            (self._scalars[key], text.encode("ascii"))
            for key, text in values.items()
            if key in self._scalars
        ]
        n_more = 0
        for scalar, text in sorted(changes, key=lambda change: -change[0].start):
            content = content[: scalar.start] + text + content[scalar.end :]
            n_more += len(text) - (scalar.end - scalar.start)
        return _moved_index(content, n_more)

    def _find_scalars(self, root: yaml.Node | None, text: str) -> dict[str, _Scalar]:
        """Return where the numbers of ``meta.photometry`` stand."""
        node = root
        for key in _PHOTOMETRY:
            node = _child(node, key)
        found = {}
        for key, value in _items(node):
            if isinstance(value, yaml.ScalarNode) and not value.style:
                # Marks count characters; positions are of bytes.
                start = len(text[: value.start_mark.index].encode("utf-8"))
                end = start + len(text[value.start_mark.index : value.end_mark.index].encode())
                found[key] = _Scalar(start, end)
        return found

    def _require_references(self, root: yaml.Node | None) -> None:
        """Refuse a tree with pixels of its own, which would stay uncorrected."""
        for key in _PIXELS:
            node = _child(root, key)
            source = node if isinstance(node, yaml.ScalarNode) else _child(node, "source")
            text = source.value if isinstance(source, yaml.ScalarNode) else ""
            if node is not None and not text.startswith(_FROM_FITS):
                raise self._unreadable(f"its {key!r} is not a reference to an HDU")

    def _unreadable(self, reason: str) -> FileFormatError:
        """Report what is wrong with the extension."""
        return FileFormatError(
            f"{self._path}: extension ASDF cannot be changed: {reason}; write the file again with "
            "the jwst package, or take the extension away"
        )


def _items(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    """Return the entries of a mapping; none of anything else."""
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return an entry of a mapping, or None."""
    return dict(_items(node)).get(key)


def _moved_index(content: bytes, n_more: int) -> bytes:
    """Return the content with its block index moved by as many bytes as the tree has grown."""
    start = content.rfind(_BLOCK_INDEX)
    if start < 0 or n_more == 0:
        return content
    head, separator, positions = content[start:].partition(b"---")
    moved = _NUMBER.sub(lambda found: str(int(found[0]) + n_more).encode("ascii"), positions)
    return content[:start] + head + separator + moved
