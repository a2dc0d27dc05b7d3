"""Arrays in, dataclasses out: no SQL, no files, no clock."""
