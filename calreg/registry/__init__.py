"""The registry: one public class, with a method for everything that the commands do.

Services are imported by the methods that need them, so that a question does not wait for the
imports of a fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from calreg.db.engine import default_url, init_database, open_database, upgrade_database
from calreg.registry.contexts import ContextMethods
from calreg.registry.data import DataMethods
from calreg.registry.outputs import OutputMethods
from calreg.registry.pixels import PixelMethods
from calreg.registry.questions import QuestionMethods

if TYPE_CHECKING:
    from calreg.db.engine import InitOutcome, UpgradeOutcome
    from calreg.db.health import DatabaseDescription, Problem
    from calreg.instruments import Instrument


def _load_instrument(name: str) -> Instrument:
    """Read an instrument; a registry that is missing is told without the imports of one."""
    from calreg.instruments import load_instrument

    return load_instrument(name)


class Registry(DataMethods, QuestionMethods, ContextMethods, OutputMethods, PixelMethods):
    """An open registry of photometric offsets between detectors.

    Parameters
    ----------
    url : str, optional
        Path of a SQLite file, ``sqlite:///FILE`` or ``postgresql://...``; ``$CALREG_DB``, else
        ``sqlite:///calreg.sqlite`` if not given.
    instrument : str, optional
        Which instrument the registry has to be of: the name of a table that comes with calreg, the
        path of a TOML file, or an entry point of the group ``calreg.instruments``. The one that it
        was made for if not given.
    read_only : bool
        Whether to refuse to write.

    Raises
    ------
    DatabaseError
        If the database cannot be opened, or its schema is not this version's; the message names the
        command that helps.
    ConflictError
        If the registry holds data of another instrument.

    Examples
    --------
    >>> import tempfile
    >>> from calreg import Registry
    >>> url = f"sqlite:///{tempfile.mkdtemp()}/calreg.sqlite"
    >>> with Registry.create(url) as registry:
    ...     registry.coefficients()
    []
    """

    def __init__(
        self, url: str | None = None, *, instrument: str | None = None, read_only: bool = False
    ) -> None:
        given = None if instrument is None else _load_instrument(instrument)
        self._database = open_database(url or default_url(), read_only=read_only)
        try:
            from calreg.db.queries.instrument import load_own_instrument
            from calreg.instruments import require_same_instrument

            with self._database.read() as connection:
                self._instrument = load_own_instrument(connection)
            if given is not None:
                require_same_instrument(self._instrument, given, self._database.url)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, url: str | None = None, *, instrument: str | None = None) -> Self:
        """Make the tables where there are none, and open the registry."""
        cls.init(url, instrument=instrument)
        return cls(url)

    @staticmethod
    def init(url: str | None = None, *, instrument: str | None = None) -> InitOutcome:
        """Make the tables; a database that has them stays as it is.

        Parameters
        ----------
        instrument : str, optional
            Whose data the registry will hold, as for `Registry`; NIRCam if not given.
        """
        given = None if instrument is None else _load_instrument(instrument)
        return init_database(url or default_url(), given)

    @staticmethod
    def upgrade(url: str | None = None) -> UpgradeOutcome:
        """Bring the tables of an older calreg to this version; data stay."""
        return upgrade_database(url or default_url())

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def check(self) -> list[Problem]:
        """Check schema, foreign keys, dangling rows and digests; return what is wrong.

        Returns
        -------
        list of Problem
            Digests are the ids of coefficient sets, and those of files that were ingested or
            delivered, where they are still in their place.
        """
        from calreg.db.health import check_database
        from calreg.registry.integrity import check_calibrations, check_files, check_sets

        with self._database.read() as connection:
            problems = check_database(connection)
            if not problems:
                problems += check_sets(connection)
                problems += check_calibrations(connection)
                problems += check_files(connection)
            return problems

    def stats(self) -> DatabaseDescription:
        """Describe the database: engine, revision, size, rows per table."""
        from calreg.db.health import describe_database

        with self._database.read() as connection:
            return describe_database(connection)
