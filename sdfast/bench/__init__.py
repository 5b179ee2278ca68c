"""Shared by `sdfast bench` and the benchmarks of the repository: timing in turn, features, formulas, operations."""
