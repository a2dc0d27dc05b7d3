"""Source catalogs of any known format, read into one `calreg.domain.Catalog`.

One reader for each format; columns and fluxes are understood in one place.
"""
