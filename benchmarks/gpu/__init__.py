"""The GPU kernels: built, checked and timed by one command, `python -m benchmarks.gpu --out FILE`.

A process of its own builds nothing and measures everything; the command watches it, goes on behind a kernel that
takes it down, and writes what was found. `--device cpu` rehearses all of it at sizes of a few kilobytes, in Triton's
interpreter, and judges nothing.
"""
