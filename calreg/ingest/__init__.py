"""Take exposures, catalogs, tables of contexts and published offsets into the registry.

From a list of paths to rows; reading a format is in `calreg.files`, writing rows in `calreg.db`.
"""
