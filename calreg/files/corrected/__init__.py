"""Finished exposures rewritten with a correction, and restored.

What is not touched stays to the byte.
"""
