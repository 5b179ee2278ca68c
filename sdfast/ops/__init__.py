"""Torch operators: schema, fake kernel, autograd and the direct route of each operation."""
