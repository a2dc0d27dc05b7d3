"""Benchmarks: calreg beside what users would pick instead, measured in one run."""
