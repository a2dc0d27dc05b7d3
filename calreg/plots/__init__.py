"""Figures of what the registry knows: arrays and rows in, a matplotlib Figure out.

Nothing here asks the registry itself.
"""
