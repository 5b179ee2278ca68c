"""What is known of figures that fall short: shown on the page where they do."""

from benchmarks import targets

_SHORT_RUNS = (
    "Short runs, each in another page of memory. Of six processes in a row, on a shared machine with `mul_` at 61 "
    "to 69 GB/s in all of them, four took 0.12 to 0.13 ns an element and thread on (64,128,8,28,28), 1.8 to 2.1 "
    "times as fast as `mul_`, and two 0.24 and 0.27, 1.1 and 0.9 times; a call over whole rows took 0.24 to 0.27 "
    "in each. The calls are the same, so it seems to be where a process has its memory that decides. Fetching 24 "
    "or 48 KB ahead instead of 12 did not help on (32,64,8,56,56). Translation of addresses may be what is waited "
    "for; that machine has no hardware counters to show it."
)
REMARKS = {targets.GUIDED["a tenth"].label: _SHORT_RUNS}
