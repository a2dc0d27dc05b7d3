"""Healthy files of every form, and every door of the registry that reads them.

A `Target` is one file of a corpus that is to be damaged, with the doors that it is sent through.
A door works in a folder of its own; what it may leave there depends on whether it succeeded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from calreg import Registry
from calreg.apply.options import ApplyOptions
from calreg.domain import Pmap
from calreg.ingest.options import IngestOptions
from calreg.pixels.measure.options import MeasureOptions
from calreg.pixels.mosaic.plan import MosaicOptions
from support import contextfiles, crdsfiles, externaltables, mosaicexposures
from support.calimages import asdf_tree, gwcs_like
from support.catalogfiles import (
    generic_table,
    write_ascii_catalog,
    write_csv,
    write_fits_catalog,
    write_jwst_catalog,
    write_ldac_catalog,
)
from support.correctedfiles import SCALED, write_exposure
from support.fitsimages import SCIENCE_CARDS, write_image
from support.referencesets import write_cache, write_parents
from support.skymosaics import GRID, SkyMosaic, write_mosaic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calreg.ingest.options import IngestReport
    from support.fitsimages import CardTable

PMAP = "jwst_1130.pmap"
IMAGE = "good_cal.fits"

Door = Callable[["Attack"], "str | None"]
"""Returns None for success, else what was refused; raises what a caller of the registry gets."""


@dataclass
class Attack:
    """One damaged file on its way through the doors.

    Attributes
    ----------
    folder : Path
        Of its own, with nothing in it but `path` and what belongs to it.
    out : Path
        Where doors may write; there is no such folder yet.
    corpus : Path
        The healthy files, not to be changed.
    """

    registry: Registry
    folder: Path
    path: Path
    corpus: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"


@dataclass(frozen=True)
class Target:
    """A file of the corpus, and where it goes.

    Attributes
    ----------
    file : str
        Below the corpus; damaged copies have the same name.
    form : str
        See `support.mutations.FORMS`.
    doors : tuple of functions
        One after the other, with the same file.
    weight : int
        Share of the inputs.
    folder : str
        Folder of the corpus that is copied around the damaged file, empty for the file alone.
    """

    file: str
    form: str
    doors: tuple[Door, ...]
    weight: int = 2
    folder: str = ""


# --- doors ------------------------------------------------------------------------------------


def _outcome(report: IngestReport, attack: Attack) -> str | None:
    """Return what was refused; every message is one line that begins with a file."""
    found = [*report.loaded, *report.unchanged, *report.refused]
    assert found or report.skipped, "nothing is said about the file"
    for outcome in report.refused:
        assert "\n" not in outcome.message, outcome.message
        assert outcome.message.startswith(str(attack.folder)), outcome.message
    return "; ".join(outcome.message for outcome in report.refused) or None


def ingest(attack: Attack) -> str | None:
    return _outcome(attack.registry.ingest([attack.path]), attack)


def ingest_for_image(attack: Attack) -> str | None:
    options = IngestOptions(image=attack.corpus / IMAGE)
    return _outcome(attack.registry.ingest([attack.path], options), attack)


def ingest_beside_its_image(attack: Attack) -> str | None:
    """Ingest a catalog that names its image."""
    return ingest(attack)


CATALOG_DOORS: tuple[Door, ...] = (ingest_for_image, ingest_beside_its_image)
"""A registry takes one catalog by them."""


def ingest_under_a_context(attack: Attack) -> str | None:
    options = IngestOptions(pmap=Pmap(1200))
    return _outcome(attack.registry.ingest([attack.path], options), attack)


def check_files(attack: Attack) -> str | None:
    report = attack.registry.check_files([attack.path])
    assert report.n_files + len(report.problems) > 0
    return "; ".join(problem.message for problem in report.problems) or None


def apply_to_folder(attack: Attack) -> None:
    """Correct into another folder, and back again: what was written can be restored."""
    attack.registry.apply([attack.path], ApplyOptions(out=attack.out))
    (written,) = attack.out.iterdir()
    attack.registry.undo([written])


def apply_beside_another(attack: Attack) -> None:
    """Correct in place after a healthy file, which must not be touched if this one is refused."""
    healthy = attack.folder / "healthy_cal.fits"
    shutil.copyfile(attack.corpus / "apply_cal.fits", healthy)
    paths = [healthy, attack.path]
    before = [path.read_bytes() for path in paths]
    try:
        attack.registry.apply(paths, ApplyOptions(is_in_place=True))
    except BaseException:
        assert [path.read_bytes() for path in paths] == before, "a file was changed"
        raise
    attack.registry.undo(paths)


def undo(attack: Attack) -> None:
    attack.registry.undo([attack.path], out=attack.out)


def apply_again(attack: Attack) -> None:
    attack.registry.apply([attack.path], ApplyOptions(out=attack.out, replaces=True))
    (written,) = attack.out.iterdir()
    attack.registry.undo([written])


def mosaic(attack: Attack) -> None:
    options = MosaicOptions(out=attack.out, is_stored=False)
    attack.registry.mosaic([attack.path], options)


def measure(attack: Attack) -> None:
    options = MeasureOptions(out=attack.folder / "out.ecsv", stores=False)
    attack.registry.measure([attack.path], options)


def photom_parents(attack: Attack) -> None:
    attack.registry.export_photom(attack.out, pmap=PMAP, parents=[attack.path.parent])


def photom_cache(attack: Attack) -> None:
    attack.registry.export_photom(attack.out, pmap=PMAP, cache=attack.folder / "cache")


def flat_parents(attack: Attack) -> None:
    attack.registry.export_flat(attack.out, pmap=PMAP, parents=[attack.path.parent])


def flat_like(attack: Attack) -> None:
    attack.registry.export_flat(attack.out, pmap=PMAP, like=attack.path)


def import_grizli(attack: Attack) -> None:
    source = str(attack.folder)
    attack.registry.import_grizli(attack.path, source=source, sense="multiply", method="star")


def import_divisors(attack: Attack) -> None:
    source = str(attack.folder)
    attack.registry.import_grizli(attack.path, source=source, sense="divide", method="sky")


def import_csv(attack: Attack) -> None:
    source = str(attack.folder)
    attack.registry.import_csv(attack.path, source=source, sense="multiply", method="star")


def import_recipe(attack: Attack) -> None:
    attack.registry.import_recipe(attack.path, pmap=PMAP, source=str(attack.folder))


# --- the corpus -------------------------------------------------------------------------------

_OF_CAL: tuple[Door, ...] = (check_files, apply_to_folder, apply_beside_another, undo, ingest)

TARGETS = (
    Target("plain_cal.fits", "fits", (check_files, undo, ingest), 2),
    Target("apply_cal.fits", "fits", _OF_CAL, 3),
    Target("empty_cal.fits", "fits", _OF_CAL, 1),
    Target("corrected_cal.fits", "fits", (undo, check_files, apply_again, ingest), 3),
    Target("like_cal.fits", "fits", (flat_like,), 1),
    Target("gwcs_cal.fits", "fits", (mosaic, apply_to_folder), 2),
    Target("members_i2d.fits", "fits", (check_files, ingest, mosaic), 2),
    Target("sky_i2d.fits", "fits", (measure,), 2),
    Target("sextractor.ldac", "fits", (ingest_beside_its_image,), 4),
    Target("sextractor_1.0.fits", "fits", (ingest_beside_its_image,), 3),
    Target("nulls.fits", "fits", (ingest_for_image,), 4),
    Target("sextractor.cat", "text", (ingest_for_image,), 4),
    Target("pipeline_cat.ecsv", "yaml", (ingest_for_image,), 4),
    Target("generic.csv", "text", (ingest_for_image,), 4),
    Target("votable.xml", "xml", (ingest_for_image,), 4),
    Target("binary.vot", "xml", (ingest_for_image,), 2),
    Target("plain.parquet", "parquet", (ingest_for_image,), 4),
    Target("nulls.parquet", "parquet", (ingest_for_image,), 3),
    Target("photom.fits", "fits", (ingest_under_a_context,), 3),
    Target(
        "parents/nrcalong.fits",
        "fits",
        (photom_parents, ingest_under_a_context),
        3,
        folder="parents",
    ),
    Target("flats/nrcalong.fits", "fits", (flat_parents, ingest), 1, folder="flats"),
    Target("cache/mappings/jwst/rmap", "text", (photom_cache,), 2, folder="cache"),
    Target("cache/mappings/jwst/pmap", "text", (photom_cache,), 1, folder="cache"),
    Target("contexts/mappings/jwst/jwst_1200.pmap", "text", (ingest,), 2, folder="contexts"),
    Target("photmjsr.csv", "text", (ingest,), 2),
    Target("references.csv", "text", (ingest,), 2),
    Target("zeropoints.yml", "yaml", (import_grizli, ingest), 3),
    Target("divisors.yml", "yaml", (import_divisors, ingest), 3),
    Target("external.csv", "text", (import_csv, ingest), 3),
    Target("recipe.ecsv", "yaml", (import_recipe,), 3),
)
"""Names in a cache's mappings are completed by `target_file`."""


def target_file(target: Target) -> str:
    """Return the file below the corpus."""
    names = {"rmap": crdsfiles.RMAPS["PHOTOM"], "pmap": PMAP}
    folder, _, name = target.file.rpartition("/")
    return f"{folder}/{names[name]}" if name in names else target.file


def write_corpus(folder: Path, url: str) -> None:
    """Write a healthy file of every form; the registry of `url` has sets for them."""
    _write_images(folder)
    _write_catalogs(folder)
    parents = write_parents(url, PMAP, folder / "parents")
    for name, path in parents.items():
        path.rename(path.with_name(f"{name}.fits"))
    write_cache(url, PMAP, folder / "cache")
    (folder / "flats").mkdir()
    for name in ("nrcalong", "nrcblong"):
        array = crdsfiles.NIRCAM.arrays[name]
        path = folder / "flats" / f"{name}.fits"
        crdsfiles.write_flat_parent(path, array, "F444W", shape=(64, 64))
    contextfiles.write_photom(
        folder / "photom.fits", "nrcb1", [("F200W", "CLEAR", "FULL", 1.5)], has_time=True
    )
    contextfiles.write_cache(
        folder / "contexts",
        "jwst_1200.pmap",
        {"nrca1": "jwst_nircam_photom_0155.fits", "nrcb1": {"2022-04-01 00:00:00": "x_0156.fits"}},
        {("nrca1", "F200W"): "jwst_nircam_flat_0612.fits"},
    )
    externaltables.write(folder / "zeropoints.yml", externaltables.MULTIPLIERS)
    externaltables.write(folder / "divisors.yml", externaltables.DIVISORS)
    externaltables.write(folder / "external.csv", externaltables.CSV)
    externaltables.write(
        folder / "photmjsr.csv",
        "pmap,detector,filter,pupil,photmjsr\n"
        "jwst_1200.pmap,NRCA1,F200W,CLEAR,1.964\njwst_1200.pmap,NRCB1,F200W,CLEAR,2.056\n",
    )
    externaltables.write(
        folder / "references.csv",
        "pmap,detector,filter,pupil,photom,flat\n"
        "jwst_1201.pmap,NRCA1,F200W,CLEAR,jwst_nircam_photom_0155.fits,N/A\n"
        "jwst_1201.pmap,NRCB1,F200W,CLEAR,jwst_nircam_photom_0156.fits,\n",
    )
    with Registry(url) as registry:
        registry.export_recipe(folder / "recipe.ecsv", pmap=PMAP)
        corrected = folder / "corrected_cal.fits"
        shutil.copyfile(folder / "apply_cal.fits", corrected)
        registry.apply([corrected], ApplyOptions(is_in_place=True))
        content = corrected.read_bytes()
        registry.undo([corrected])  #
        corrected.write_bytes(content)
        registry.ingest([folder / IMAGE])


def _write_images(folder: Path) -> None:
    """Write exposures and mosaics."""
    cards: dict[str, Any] = {"DETECTOR": "NRCALONG", "FILTER": "F444W"}
    write_image(folder / "plain_cal.fits", primary={"OBSERVTN": "998"})
    own = {"OBSERVTN": "999", "R_PHOTOM": "crds://jwst_nircam_photom_9000.fits"}
    write_image(folder / IMAGE, primary=own)
    write_image(folder / "members_i2d.fits", member_contexts=[PMAP] * 3)
    write_image(
        folder / "like_cal.fits",
        primary={
            "SUBARRAY": "SUB64P",
            "SUBSTRT1": 1957,
            "SUBSTRT2": 29,
            "SUBSIZE1": 64,
            "SUBSIZE2": 64,
        },
    )
    write_exposure(folder / "apply_cal.fits", primary=cards)
    nothing = np.zeros((0, 48), dtype=np.float32)
    region: CardTable = {"S_REGION": str(SCIENCE_CARDS["S_REGION"])}
    planes = dict.fromkeys((*SCALED, "DQ", "AREA"), nothing)
    write_exposure(folder / "empty_cal.fits", primary=cards, planes={**planes}, science=region)
    sky = mosaicexposures.pointing(0)
    corner: CardTable = {"SUBARRAY": "SUB256", "SUBSTRT1": 1, "SUBSTRT2": 1}
    corner |= {"SUBSIZE1": 256, "SUBSIZE2": 256}
    made = mosaicexposures.write_exposure(
        folder, 0, sky=sky, primary=corner, asdf_tree=asdf_tree(gwcs_like(sky, (256, 256)))
    )
    with fits.open(made) as hdus:
        science = hdus["SCI"].header
        for number in (1, 2):  # the gwcs of the tree is asked
            science.remove(f"CTYPE{number}")
        hdus.writeto(folder / "gwcs_cal.fits")
    made.unlink()
    rng = np.random.default_rng(3)
    shape = (90, 80)
    sci = (0.3 + 0.01 * rng.standard_normal(shape)).astype(np.float32)
    y, x = np.indices(shape)
    for x_0, y_0 in ((20.0, 30.0), (60.0, 40.0), (40.0, 70.0)):
        sci += 2.0 * np.exp(-0.5 * ((x - x_0) ** 2 + (y - y_0) ** 2) / 3.0).astype(np.float32)
    err = np.full(shape, 0.01, dtype=np.float32)
    mosaic_ = SkyMosaic(0, "nrcalong", sci, err, GRID.cutout(0, 0, shape[1], shape[0]))
    write_mosaic(folder, mosaic_, name="sky_i2d.fits")


def _write_catalogs(folder: Path) -> None:
    """Write one small set of sources in every form."""
    write_ldac_catalog(folder / "sextractor.ldac", IMAGE)
    write_fits_catalog(folder / "sextractor_1.0.fits", IMAGE)
    write_ascii_catalog(folder / "sextractor.cat")
    write_jwst_catalog(folder / "pipeline_cat.ecsv")
    write_csv(folder / "generic.csv")
    table = generic_table()
    table.write(folder / "votable.xml", format="votable")
    table.write(folder / "binary.vot", format="votable", tabledata_format="binary2")
    table.write(folder / "plain.parquet", format="parquet")
    columns = [
        fits.Column("ra", "D", unit="deg", array=np.asarray(table["ra"])),
        fits.Column("dec", "D", unit="deg", array=np.asarray(table["dec"])),
        fits.Column("flux", "J", unit="uJy", null=-99, array=np.array([9, 5, -99, 3])),
        fits.Column("flux_err", "E", unit="uJy", array=np.full(4, 0.1)),
        fits.Column("flags", "J", null=999999, array=np.array([0, 1, 999999, 3])),
        fits.Column("id", "K", array=np.arange(4), bscale=1, bzero=2**63),
        fits.Column("name", "PA(4)", array=np.array(["a", "bb", "", "dddd"], dtype=object)),
        fits.Column("APER", "2E", array=np.ones((4, 2))),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(folder / "nulls.fits")
    arrays = {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "ra": pa.array([265.1, 265.2, None, 265.1]),
        "dec": pa.array([65.8, 65.8, 65.8, 65.8]),
        "flux": pa.array([9.0, None, 3.0, 4.0], pa.float32()),
        "flux_err": pa.array([0.1, 0.1, 0.1, 0.1], pa.float32()),
        "flags": pa.array([0, None, 3, 4], pa.int16()),
        "name": pa.array(["a", "b", "a", None]).dictionary_encode(),
    }
    units = {"ra": "deg", "dec": "deg", "flux": "uJy", "flux_err": "uJy"}
    schema = pa.schema(
        pa.field(name, values.type, metadata={"unit": units.get(name, "")})
        for name, values in arrays.items()
    )
    pq.write_table(pa.table(arrays, schema=schema), folder / "nulls.parquet", compression="zstd")


@contextmanager
def attacked(
    target: Target,
    content: bytes,
    registry: Registry,
    corpus: Path,
    folder: Path,
    *,
    prefix: str = "",
) -> Iterator[Attack]:
    """Put a damaged file into a folder of its own, with its healthy neighbours as links.

    `prefix` is set before its name where it has no neighbours.
    """
    folder.mkdir()
    file = target_file(target)
    try:
        if target.folder:
            shutil.copytree(
                corpus / target.folder, folder / target.folder, copy_function=_hard_link
            )
            path = folder / file
            path.unlink()
        else:
            path = folder / (prefix + Path(file).name)
        path.write_bytes(content)
        yield Attack(registry, folder, path, corpus)
    finally:
        shutil.rmtree(folder)


def _hard_link(source: str, target: str) -> None:
    """Give a file a second name."""
    Path(target).hardlink_to(source)
