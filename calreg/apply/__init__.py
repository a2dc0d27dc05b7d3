"""Correct finished exposures, check them, and take a correction back.

What the correction is comes from `calreg.sets`; how a file is rewritten from
`calreg.files.corrected`.
"""
