"""What the tests of the debiasing experiment share: a run of seconds, and a row that drops all that is static."""

import sdfast
from experiments.debias.rows import Row
from experiments.debias.settings import Settings

TINY = Settings(
    steps=3,
    tuning_steps=2,
    tuning_clips=8,
    trunk_steps=1,
    batch_size=4,
    report_every=2,
    report_pairs=8,
    test_pairs=8,
    test_clips=12,
)
REGION = Row("region", sdfast.StaticDropout, {"p": 1.0}, mask="labels", control="other", tries="p")
