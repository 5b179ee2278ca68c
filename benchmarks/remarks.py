"""What is known of figures that fall short: shown on the page where they do."""

from benchmarks import targets

REMARKS = {
    targets.GUIDED["a tenth"].label: "Short runs, each in another page of memory. Of six processes in a row, on a shared "
    "machine with `mul_` at 61 to 69 GB/s in all of them, four took 0.12 to 0.13 ns an element and thread on "
    "(64,128,8,28,28), 1.8 to 2.1 times as fast as `mul_`, and two 0.24 and 0.27, 0.9 and 1.1 times; a call over whole "
    "rows took 0.24 to 0.27 in each. So it is decided by where a process has its memory, not by the calls. Fetching 24 or "
    "48 KB ahead instead of 12 did not change it. Translation of addresses may be what is waited for; that machine has "
    "no hardware counters to show it.",
}
