"""A guard around the readers: whatever a damaged file makes a library raise is one refused file."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from calreg.errors import CalregError, FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
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
