"""Guards around the readers: damage is one refused file, and stated counts are not trusted."""

from __future__ import annotations

import math
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from calreg.errors import CalregError, FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


@contextmanager
def refuse_damaged(path: Path) -> Iterator[None]:
    """Turn every exception of reading a file into a `CalregError`, and keep libraries quiet.

    The readers name the damage that they know. Damaged bytes have no end of ways to upset the
    parsers underneath, and one file must not stop a call that reads hundreds.

    Raises
    ------
    FileFormatError
        In place of any exception that is not a `CalregError`; the cause is kept.
    """
    with warnings.catch_warnings():
        # What libraries warn of in a file is either harmless or refused in words of ours.
        warnings.simplefilter("ignore")
        try:
            yield
        except CalregError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            msg = (
                f"{path}: cannot be read ({reason}): it is damaged, or not what it looks like; "
                "copy or make it again"
            )
            raise FileFormatError(msg) from error


# --- counts that files state ----------------------------------------------------------------------

MAX_COLUMNS = 999
"""Of a FITS table (FITS 4.0, section 7.2.1)."""

MAX_DEPTH = 100
"""Levels of brackets or indentation in a text; files of the trade have about ten."""

MAX_EXPANSION = 100
"""What a file holds, as it states itself, over its size: compressed sky reaches four."""

_SMALL_BYTES = 1 << 20
"""What any file may hold, however small it is."""

_MAX_NODES = 1_000_000

_BRACKETS = re.compile(rb"[\[\](){}]")
_DEEP_LINE = re.compile(rb"^[ \t\-?:!&*]{%d}" % (2 * MAX_DEPTH), re.MULTILINE)


def require_columns(path: Path, n_columns: int) -> None:
    """Refuse a FITS table of more columns than there can be.

    Raises
    ------
    FileFormatError
        Also for a negative number.
    """
    if not 0 <= n_columns <= MAX_COLUMNS:
        msg = (
            f"{path}: card TFIELDS: found {n_columns}, expected 0 to {MAX_COLUMNS}; the file is "
            "not valid FITS, write it again"
        )
        raise FileFormatError(msg)


def require_plausible_size(path: Path, size_bytes: int, n_bytes: int, what: str) -> None:
    """Refuse a file that states to hold far more than it can, before it is decoded.

    Parameters
    ----------
    size_bytes : int
        Of the file.
    n_bytes : int
        What would be in memory.
    what : str
        For the message, ``4 columns of 100000000 rows``.

    Raises
    ------
    FileFormatError
        If that is more than `MAX_EXPANSION` times the size of the file, and more than a megabyte.
    """
    if n_bytes > max(_SMALL_BYTES, MAX_EXPANSION * size_bytes):
        msg = (
            f"{path}: states to hold {what} ({n_bytes} bytes) in {size_bytes} bytes, more than "
            f"{MAX_EXPANSION} times its size: it is damaged or made to fill the memory; write it "
            "again"
        )
        raise FileFormatError(msg)


def require_shallow(path: Path, text: bytes) -> None:
    """Refuse a text whose nesting would exhaust the stack of the parser that reads it.

    Parameters
    ----------
    text : bytes
        YAML, JSON or Python.

    Raises
    ------
    FileFormatError
        If brackets, or the indentation of a line, are more than `MAX_DEPTH` levels deep. Brackets
        inside of quotes count too.
    """
    depth = deepest = 0
    if sum(text.count(bracket) for bracket in (b"[", b"(", b"{")) > MAX_DEPTH:
        for bracket in _BRACKETS.finditer(text):
            depth += 1 if bracket[0] in b"[({" else -1
            deepest = max(deepest, depth)
    if deepest > MAX_DEPTH or _DEEP_LINE.search(text):
        msg = (
            f"{path}: is nested more than {MAX_DEPTH} levels deep: it is damaged, or not what it "
            "looks like; write it again"
        )
        raise FileFormatError(msg)


def require_shallow_header(path: Path, content: bytes) -> None:
    """Refuse an ECSV table whose header, the lines that begin with ``#``, is nested too deep.

    Raises
    ------
    FileFormatError
        See `require_shallow`.
    """
    lines = content.splitlines(keepends=True)
    require_shallow(path, b"".join(line[1:] for line in lines if line.startswith(b"#")))


def require_few_aliases(path: Path, text: bytes) -> None:
    """Refuse YAML whose aliases stand for very much, or for what they are in.

    Parameters
    ----------
    text : bytes
        Not nested too deep; see `require_shallow`.

    Raises
    ------
    FileFormatError
        Also for text that is no YAML.
    """
    if b"*" not in text:
        return
    import yaml

    try:
        root = yaml.compose(text.decode("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{path}: is not YAML ({' '.join(str(error).split())[:160]}); write it again"
        raise FileFormatError(msg) from error
    sizes: dict[int, float] = {}

    def size_of(node: yaml.Node) -> float:
        """Return the nodes below a node, aliases written out; endless within itself."""
        if id(node) not in sizes:
            sizes[id(node)] = math.inf
            children = [] if isinstance(node, yaml.ScalarNode) else node.value
            pairs = (child if isinstance(child, tuple) else (child,) for child in children)
            sizes[id(node)] = 1.0 + sum(size_of(one) for pair in pairs for one in pair)
        return sizes[id(node)]

    if root is not None and size_of(root) > _MAX_NODES:
        raise _too_many_nodes(path)


def _too_many_nodes(path: Path) -> FileFormatError:
    """Say that aliases make a tree very large."""
    return FileFormatError(
        f"{path}: its metadata have more than {_MAX_NODES} entries, aliases written out: it is "
        "damaged or made to fill the memory; write it again"
    )


def require_few_nodes(path: Path, tree: Mapping[str, object]) -> None:
    """Refuse nested metadata that aliases make very large when they are written out.

    Raises
    ------
    FileFormatError
        If there are more than `_MAX_NODES` entries in all.
    """
    n_nodes = 0
    rest: list[Iterable[object]] = [tree.values()]
    while rest:
        children = list(rest.pop())
        n_nodes += len(children)
        if n_nodes > _MAX_NODES:
            raise _too_many_nodes(path)
        rest += [child.values() for child in children if isinstance(child, dict)]
        rest += [child for child in children if isinstance(child, list | tuple)]
