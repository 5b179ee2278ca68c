"""What is known of figures that fall short: shown on the page where they do."""

from benchmarks import targets

_SHORT_RUNS = (
    "Short runs, each in another page of memory: translation of addresses decides. On a shared machine, five "
    "processes with pages of 4 KB took 0.25 to 0.28 ns an element and thread on (64,128,8,28,28), and five with huge "
    "pages (`THP_MEM_ALLOC_ENABLE=1`, a setting of torch), in turn with them, 0.11 to 0.13 in four and 0.20 in one, "
    "while `mul_` took the same in both. At other times processes with pages of 4 KB took 0.11 to 0.13, too, so the "
    "host of the machine has its part in it. Fetching 24 or 48 KB ahead instead of 12, and touching each run's page "
    "when it is put in the queue, did not help reliably."
)
REMARKS = {targets.GUIDED["a tenth"].label: _SHORT_RUNS}
