"""Write what the registry knows as files: tables, photom and flat files, CRDS contexts.

Every file is recorded as a delivery; formats themselves are in `calreg.files`.
"""
