"""The pair model: what is fitted to magnitude differences, how, and with what errors.

Settings, solver, variable sources, and gradients as functions of detector pixels.
"""
