"""Contexts: zero points, reference files, predictions, and which sets hold for which."""
