"""A simulated observatory: the programme, its sky, exposures and catalogs, and the files of it.

Only the demo, the tests and the benchmarks import it; nothing here touches a registry.
"""
