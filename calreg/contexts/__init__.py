"""CRDS contexts: zero points, reference files, and what they say of an offset in time.

History, differences, predictions, residuals and comparison with published numbers.
"""
