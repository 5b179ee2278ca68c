"""Tests, a file for each room of the package, under the same name."""
