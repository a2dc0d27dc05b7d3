"""Arrays in, dataclasses out: no files, no database, no clock.

One room for the sky, one for the model, one for photometry, one for imaging.
"""
