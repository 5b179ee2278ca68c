"""A fuzzer: random calls of the operations, judged in long double and, bit by bit, in NumPy."""
