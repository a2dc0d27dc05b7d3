"""Catalogs that replace others: fits and answers use the latest, the old numbers stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.queries.exposures import add_ingest, find_images
from calreg.db.queries.pairs import load_groups, load_variable_pairs
from calreg.db.schema import CatalogRow, DetectionRow, PairGroupRow, PairRow, VariableSourceRow
from calreg.domain import Catalog, CatalogOrigin
from calreg.errors import ConflictError
from calreg.files.catalogs.read import read_catalog
from calreg.files.recognise import recognise
from calreg.ingest.catalogs import CatalogIngest
from calreg.ingest.options import IngestOptions
from calreg.instruments import load_instrument
from calreg.refit.astrometry import OffsetSample, Sizes, stored_offsets
from support.programmes import Files, largest_difference, numbers, row_counts

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.ingest.catalogs import CatalogEntry

BAND, ARRAY = "F444W", "nrcalong"
STEP_MAG = 0.05


def measured(path: Path, *, dmag: float, digest: str, **settings: str) -> Catalog:
    """Return a catalog as if it had been measured from pixels, fainter by `dmag`."""
    catalog = read_catalog(path, recognise(path))
    return replace(
        catalog,
        flux=catalog.flux * 10.0 ** (-0.4 * dmag),
        flux_err=catalog.flux_err * 10.0 ** (-0.4 * dmag),
        mag=catalog.mag + dmag,
        origin=CatalogOrigin.PIXELS,
        file_name=path.with_suffix(".fits").name,
        file_sha256=digest * 64,
        settings={"threshold": "1.5", **settings},
    )


def enter(
    url: str, paths: list[Path], *, dmag: float, digest: str, replace_them: bool = True
) -> list[CatalogEntry]:
    """Bring measured catalogs in by CatalogIngest, in one transaction."""
    entries = []
    with open_database(url) as database, database.write() as connection:
        ingest = CatalogIngest(connection, IngestOptions(), load_instrument())
        ingest_id = add_ingest(connection, datetime.now(UTC), "test")
        for path in paths:
            image_path = path.with_suffix(".fits")
            (image,) = [
                found
                for found in find_images(connection, [image_path.name])
                if found.directory == str(image_path.parent)
            ]
            catalog = measured(path, dmag=dmag, digest=digest)
            entries.append(ingest.enter(path, catalog, image, replace=replace_them))
            if entries[-1].known_as is None:
                ingest.write(entries[-1], ingest_id)
    return entries


def catalogs_of_a(files: Files) -> list[Path]:
    """Return the catalogs of module A in one band."""
    return files.select(band=BAND, array=ARRAY, suffix=".cat")


def test_a_replacement_moves_the_next_fit_and_nothing_else(
    small_url: str, small_files: Files
) -> None:
    before = numbers(small_url)
    with Registry(small_url) as registry:
        (old,) = registry.coefficients(band=BAND)
        n_before = row_counts(registry)
        n_current = registry.detections(band=BAND)["number"].size
        n_patches = len(registry.offsets(band=BAND))
    between = datetime.now(UTC)
    entries = enter(small_url, catalogs_of_a(small_files), dmag=STEP_MAG, digest="a")
    assert {entry.version for entry in entries} == {2}
    with Registry(small_url) as registry:
        report = registry.refit()
        assert [row.band for row in report.fitted] == [BAND]
        (new,) = registry.coefficients(band=BAND)
        # A reads fainter by the step; the fit is linear in it but for weights and clipped pairs.
        assert new.offset_ab_mag - old.offset_ab_mag == pytest.approx(STEP_MAG, abs=2e-4)
        assert (new.version, old.version) == (2, 1)
        (then,) = registry.coefficients(band=BAND, as_of_utc=between)
        assert (then.set_id, then.offset_ab_mag) == (old.set_id, old.offset_ab_mag)
        assert registry.refit().fitted == []
        # Every question sees one catalog per image.
        assert registry.detections(band=BAND)["number"].size == n_current
        assert len(registry.offsets(band=BAND)) == n_patches
        n_after = row_counts(registry)
        assert n_after["catalogs"] == n_before["catalogs"] + len(entries)
        assert n_after["pair_groups"] > n_before["pair_groups"]
        assert registry.check() == []
    after = numbers(small_url)
    others = [key for key in before if key[2] != BAND]
    assert {key: after[key] for key in others} == {key: before[key] for key in others}


def test_there_and_back_gives_the_first_numbers(small_url: str, small_files: Files) -> None:
    paths = catalogs_of_a(small_files)
    found = []
    with Registry(small_url) as registry:
        for digest, dmag in (("b", 0.0), ("a", STEP_MAG), ("b", 0.0)):
            enter(small_url, paths, dmag=dmag, digest=digest)
            assert len(registry.refit().fitted) == 1
            found.append(numbers(small_url))
        (row,) = registry.coefficients(band=BAND)
        assert row.version == 4
    assert largest_difference(found[0], found[1]) > 0.04
    # The same pairs under other ids; only the order of sums may differ.
    assert largest_difference(found[0], found[2]) < 1e-9


def test_the_same_digest_is_known(small_url: str, small_files: Files) -> None:
    path = catalogs_of_a(small_files)[0]
    enter(small_url, [path], dmag=STEP_MAG, digest="a")
    (entry,) = enter(small_url, [path], dmag=STEP_MAG, digest="a")
    assert entry.known_as == f"{path.with_suffix('.fits').name} in the registry"
    with Registry(small_url) as registry:
        assert row_counts(registry)["catalogs"] == len(small_files.select(suffix=".cat")) + 1


def test_other_settings_are_a_conflict_that_says_which(small_url: str, small_files: Files) -> None:
    path = catalogs_of_a(small_files)[0]
    with pytest.raises(ConflictError, match=r"from catalog \S+\.cat .* --replace keeps them"):
        enter(small_url, [path], dmag=0.0, digest="a", replace_them=False)
    enter(small_url, [path], dmag=0.0, digest="a")
    with open_database(small_url) as database, database.write() as connection:
        ingest = CatalogIngest(connection, IngestOptions(), load_instrument())
        image = find_images(connection, [path.with_suffix(".fits").name])[0]
        other = measured(path, dmag=0.0, digest="c", threshold="2", min_area="5")
        with pytest.raises(ConflictError) as caught:
            ingest.enter(path, other, image)
    message = str(caught.value)
    assert "measured with other settings (min_area unset -> 5; threshold 1.5 -> 2)" in message
    assert "--replace" in message
    assert "\n" not in message


def test_a_file_does_not_replace_what_was_measured(small_url: str, small_files: Files) -> None:
    path = catalogs_of_a(small_files)[0]
    enter(small_url, [path], dmag=STEP_MAG, digest="a")
    with Registry(small_url) as registry:
        report = registry.ingest([path])
    (refused,) = report.refused
    assert "from catalog measured pixels with other content" in refused.message


def test_what_was_variable_in_replaced_numbers_is_judged_anew(
    small_url: str, small_files: Files
) -> None:
    paths = catalogs_of_a(small_files)
    pair, variable = PairRow.__table__, VariableSourceRow
    with open_database(small_url) as database, database.write() as connection:
        chosen = connection.execute(
            sa.select(pair.c.group_id, pair.c.number_i, pair.c.number_j, pair.c.source_id)
            .join(PairGroupRow, PairGroupRow.id == pair.c.group_id)
            .join(CatalogRow, CatalogRow.id == PairGroupRow.catalog_i_id)
            .where(
                CatalogRow.file_name == paths[0].name,
                pair.c.source_id.not_in(sa.select(variable.source_id)),
            )
        ).first()
        assert chosen is not None
        row = {"source_id": chosen.source_id, "group_id": chosen.group_id}
        row |= {"chi2": 99.0, "residual_mag": 1.0}
        connection.execute(sa.insert(variable), [row])
        numbers_of = (chosen.number_i, chosen.number_j)
        assert numbers_of in load_variable_pairs(connection)[chosen.group_id]
    enter(small_url, paths, dmag=0.0, digest="a")
    with open_database(small_url) as database, database.read() as connection:
        assert numbers_of not in load_variable_pairs(connection).get(chosen.group_id, [])
        stored = connection.scalars(
            sa.select(variable.group_id).where(variable.source_id == chosen.source_id)
        )
        assert list(stored) == [chosen.group_id]


# --- position offsets -----------------------------------------------------------------------------


def n_of(samples: dict[int, OffsetSample], group_id: int) -> int:
    """Return the number of offsets of a group."""
    return int(samples[group_id].offsets_mas.shape[1])


def test_stored_offsets_are_those_that_refit_reported(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(band=BAND))
        reported = registry.refit().pairing.astrometry
    with open_database(db_url) as database, database.read() as connection:
        groups = load_groups(connection)
        offsets = stored_offsets(connection, [group.id for group in groups])
        assert stored_offsets(connection, []) == {}
        assert stored_offsets(connection, [groups[0].id], sizes=Sizes.COMPACT) == {}
    by_epochs: dict[tuple[int, int], list[OffsetSample]] = {}
    for group in groups:
        if group.id in offsets:
            key = (group.epoch_i_id, group.epoch_j_id)
            by_epochs.setdefault(key, []).append(offsets[group.id])
    found = []
    for parts in by_epochs.values():
        joined = OffsetSample.joined(parts).offsets_mas
        median = np.median(joined, axis=1)
        mad = np.median(np.abs(joined - median[:, None]), axis=1)
        found.append((joined.shape[1], median[0], mad[0], median[1], mad[1]))
    expected = [
        (row.n_sources, row.ra_median_mas, row.ra_mad_mas, row.dec_median_mas, row.dec_mad_mas)
        for row in reported
    ]
    # The same positions by the same formula.
    assert sorted(found) == sorted(expected)


def test_extended_sources_do_not_count(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(band=BAND))
        registry.refit()
    with open_database(db_url) as database:
        with database.write() as connection:
            groups = load_groups(connection)
            ids = [group.id for group in groups]
            all_of = stored_offsets(connection, ids)
            bright = stored_offsets(connection, ids, mag_limit=20.0)
            first = min(group.catalog_i_id for group in groups)
            update = sa.update(DetectionRow).where(DetectionRow.catalog_id == first)
            connection.execute(update.where(DetectionRow.number % 2 == 0).values(compactness=0))
            connection.execute(update.where(DetectionRow.number % 2 == 1).values(compactness=1))
        with database.read() as connection:
            known = stored_offsets(connection, ids)
            compact = stored_offsets(connection, ids, sizes=Sizes.COMPACT)
    touched = [group.id for group in groups if group.catalog_i_id == first]
    assert touched
    for group_id in touched:
        assert 0 < n_of(known, group_id) < n_of(all_of, group_id)
        assert 0 < n_of(bright, group_id) < n_of(all_of, group_id)
    # The other epoch is not known to be compact.
    assert compact == {}
    others = set(all_of) - set(touched)
    assert all(n_of(known, n) == n_of(all_of, n) for n in others)
