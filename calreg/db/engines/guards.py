"""Rules that engines keep in words of their own: no two accepted sets for one key at one time.

The statements are those of the migrations; a database without them fails ``calreg db check``.
"""

from __future__ import annotations

OVERLAP_NAME = "ex_acceptances_overlap"
"""Name of the rule, in the message of both engines."""

# Two numbers are equal where ranges of one number overlap. A GiST index of text needs the extension
# btree_gist, which takes an administrator; a hash of 64 bits does without. Two keys with one hash
# would be refused, not let through.
_KEY_HASH = "hashtextextended(band || ' ' || array_id, 0)"

POSTGRESQL_GUARDS = {
    OVERLAP_NAME: f"""
        ALTER TABLE acceptances ADD CONSTRAINT {OVERLAP_NAME} EXCLUDE USING gist (
            numrange({_KEY_HASH}, {_KEY_HASH}, '[]') WITH &&,
            int4range(pmap_from_number, pmap_to_number, '[]') WITH &&,
            tstzrange(accepted_utc, ended_utc) WITH &&
        )
    """,
}

_OVERLAPS = """
    SELECT 1 FROM acceptances AS other
    WHERE other.id <> NEW.id AND other.band = NEW.band AND other.array_id = NEW.array_id
    AND (other.pmap_to_number IS NULL OR other.pmap_to_number >= NEW.pmap_from_number)
    AND (NEW.pmap_to_number IS NULL OR NEW.pmap_to_number >= other.pmap_from_number)
    AND (other.ended_utc IS NULL OR other.ended_utc > NEW.accepted_utc)
    AND (NEW.ended_utc IS NULL OR NEW.ended_utc > other.accepted_utc)
    AND (NEW.ended_utc IS NULL OR NEW.ended_utc > NEW.accepted_utc)
    AND (other.ended_utc IS NULL OR other.ended_utc > other.accepted_utc)
"""

SQLITE_GUARDS = {
    f"{OVERLAP_NAME}_{event.lower()}": f"""
        CREATE TRIGGER {OVERLAP_NAME}_{event.lower()}
        AFTER {event} ON acceptances WHEN EXISTS ({_OVERLAPS})
        BEGIN
            SELECT RAISE(ABORT, 'overlapping acceptances: {OVERLAP_NAME}');
        END
    """
    for event in ("INSERT", "UPDATE")
}
