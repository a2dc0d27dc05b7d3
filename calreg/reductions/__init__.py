"""Corrections of a reduction's own files: check, apply, undo, and what they rest on."""
