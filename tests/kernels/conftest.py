"""What tests of the Triton co-moments are handed."""

import pytest

from tests.support.triton_modes import interpreted


@pytest.fixture
def kernels():
    """The interpreted co-moments, with tiles so small that small features make many chunks."""
    with interpreted() as modules, pytest.MonkeyPatch.context() as patch:
        for name, value in (("TILE", 256), ("PROGRAMS", 1), ("SMALL", 1000), ("FEW_BYTES", 512), ("LONG", 16)):
            patch.setattr(modules["comoments"], name, value)
        for name, value in (("CHANNELS", 8), ("NEAR", 16), ("THREADS", 8), ("RUN", 8), ("LINES", 4)):
            patch.setattr(modules["samples"], name, value)
        for name, value in (("AT_ONCE", 4), ("IN_TURN", 8), ("MERGED", 64), ("LARGE", 256)):
            patch.setattr(modules["sample_comoments"], name, value)
        patch.setattr(modules["spans"], "MERGED", 6)
        patch.setattr(modules["moments"], "MERGED", 64)
        patch.setattr(modules["pooling"], "STRETCH", 2)
        yield modules["comoments"]
