"""Detect and measure sources on mosaics, and load what was measured.

Plan, patches of an image, alignment, the catalog and its report.
"""
