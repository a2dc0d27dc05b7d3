"""Drizzle the exposures of one array, band and epoch onto the grid of their field.

Plan, jobs for workers, and the rows of what was made.
"""
