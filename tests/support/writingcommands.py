"""Every command that writes, as work for a process that is killed in the middle of it.

Each takes the URL of a registry like `support.programmes.small`, the folder that it reads from, and
the one that it writes to. Run again, each has to come to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg import Registry
from calreg.pixels.measure.options import MeasureOptions
from calreg.science.model.settings import FitSettings
from support import externaltables
from support.programmes import PMAP
from support.referencesets import write_parents
from support.skymosaics import draw_mosaic, write_mosaic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = FitSettings(mag_limit=22.5)
"""Other than the standing ones, so that everything is fitted again."""


def prepare(url: str, given: Path) -> None:
    """Write what the commands read."""
    given.mkdir(parents=True)
    externaltables.write(given / "zeropoints.yml", externaltables.MULTIPLIERS)
    externaltables.write(given / "external.csv", externaltables.CSV)
    with Registry(url) as registry:
        registry.export_recipe(given / "recipe.ecsv", pmap=PMAP)
    write_parents(url, PMAP, given / "parents")
    write_mosaic(given, draw_mosaic(0, "nrcalong"))


def refit(url: str, _: list[Path]) -> None:
    with Registry(url) as registry:
        registry.refit(SETTINGS)


def import_recipe(url: str, paths: list[Path]) -> None:
    with Registry(url) as registry:
        registry.import_recipe(paths[0] / "recipe.ecsv", pmap=PMAP, source="a")


def import_grizli(url: str, paths: list[Path]) -> None:
    table = paths[0] / "zeropoints.yml"
    with Registry(url) as registry:
        registry.import_grizli(table, source="b", sense="multiply", method="sky")


def import_csv(url: str, paths: list[Path]) -> None:
    table = paths[0] / "external.csv"
    with Registry(url) as registry:
        registry.import_csv(table, source="c", sense="multiply", method="star")


def promote(url: str, _: list[Path]) -> None:
    with Registry(url) as registry:
        registry.promote(first_set(registry), reason="it is good")


def withdraw(url: str, _: list[Path]) -> None:
    with Registry(url) as registry:
        registry.withdraw(first_set(registry), reason="it is bad")


def first_set(registry: Registry) -> str:
    """Return the id of the set that sorts first."""
    return min(row.set_id for row in registry.coefficients())


def declare_equal(url: str, _: list[Path]) -> None:
    with Registry(url) as registry:
        registry.declare_equal(PMAP, "jwst_1200.pmap", reason="the files are the same")


def export_recipe(url: str, paths: list[Path]) -> None:
    with Registry(url) as registry:
        registry.export_recipe(paths[1] / "recipe.ecsv", pmap=PMAP, overwrite=True)


def export_grizli(url: str, paths: list[Path]) -> None:
    with Registry(url) as registry:
        registry.export_grizli(paths[1] / "grizli.yml", pmap=PMAP, overwrite=True)


def export_parquet(url: str, paths: list[Path]) -> None:
    with Registry(url) as registry:
        registry.export_parquet(paths[1], overwrite=True)


def export_photom(url: str, paths: list[Path]) -> None:
    parents = paths[0] / "parents"
    with Registry(url) as registry:
        registry.export_photom(paths[1], pmap=PMAP, parents=[parents], overwrite=True)


def measure(url: str, paths: list[Path]) -> None:
    options = MeasureOptions(out=paths[1] / "sources.ecsv", overwrites=True)
    mosaics = sorted(paths[0].glob("*_i2d.fits"))
    with Registry(url) as registry:
        registry.measure(mosaics, options)


COMMANDS: tuple[Callable[[str, list[Path]], None], ...] = (
    refit,
    import_recipe,
    import_grizli,
    import_csv,
    promote,
    withdraw,
    declare_equal,
    export_recipe,
    export_grizli,
    export_parquet,
    export_photom,
    measure,
)
"""`ingest`, `mosaic`, `apply` and `undo` are killed in tests of their own."""
