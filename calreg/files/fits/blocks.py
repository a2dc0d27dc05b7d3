"""Data blocks of a FITS file: on disk, in memory, or worked out as they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from calreg.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase

_PIECE_BYTES = 1 << 18


class Blocks(Protocol):
    """Some bytes behind each other."""

    @property
    def n_bytes(self) -> int:
        """How many there are."""

    def chunks(self) -> Iterator[memoryview]:
        """Yield them, in pieces that are good until the next one is asked for."""

    def whole(self) -> memoryview:
        """Return them in one piece."""


class StoredBlocks(Blocks, Protocol):
    """Blocks that can be read anywhere."""

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from a place on."""


class MemoryBlocks:
    """Blocks in memory."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    @property
    def n_bytes(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def chunks(self) -> Iterator[memoryview]:
        """Yield the whole in one piece."""
        yield self._data

    def whole(self) -> memoryview:
        """Return the whole."""
        return self._data

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from a place on."""
        buffer[:] = self._data[start : start + len(buffer)]


class FileBlocks:
    """Blocks of an open file, read piece by piece.

    To map the file would be faster, but if another program cut it short meanwhile, the system would
    end the process without a word.

    Parameters
    ----------
    stream : RawIOBase
        Used by one thread only.
    start, n_bytes : int
        Where they are.
    """

    def __init__(self, stream: RawIOBase, start: int, n_bytes: int) -> None:
        self._stream = stream
        self._start = start
        self._n_bytes = n_bytes

    @property
    def n_bytes(self) -> int:
        """How many bytes there are."""
        return self._n_bytes

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes, in pieces that are good until the next one is asked for."""
        piece = memoryview(bytearray(min(_PIECE_BYTES, self._n_bytes)))
        for start in range(0, self._n_bytes, _PIECE_BYTES):
            part = piece[: self._n_bytes - start]
            self.fill(start, part)
            yield part

    def whole(self) -> memoryview:
        """Return the bytes in one piece."""
        buffer = memoryview(bytearray(self._n_bytes))
        self.fill(0, buffer)
        return buffer

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from a place on.

        Raises
        ------
        FileFormatError
            If the file ends before.
        """
        self._stream.seek(self._start + start)
        while buffer:
            n_read = self._stream.readinto(buffer)
            if not n_read:
                msg = "the file became shorter while it was read"
                raise FileFormatError(msg)
            buffer = buffer[n_read:]
