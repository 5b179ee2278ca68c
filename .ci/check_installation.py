"""Use an installed wheel: README's first example, every instruction set, and one OpenMP runtime in the process."""

import re
import sys
from pathlib import Path

import numpy as np
import torch

import sdfast
from sdfast import _C

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[1]

assert not Path(sdfast.__file__).is_relative_to(Path(__file__).parents[1]), sdfast.__file__
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, sdfast {sdfast.__version__} in {sdfast.__file__}")

exec(compile(EXAMPLE, "README.md", "exec"))

a, b = np.random.default_rng(0).normal(size=(2, 300, 7))
truth = [np.corrcoef(a[:, i], a[:, i] + b[:, i])[0, 1] for i in range(7)]
for isa in _C.available_isas():
    _C.set_isa(isa)
    np.testing.assert_allclose(sdfast.channel_bias(a, a + b).corr, truth, rtol=1e-12)
    dropped = sdfast.static_dropout(torch.ones(4, 6, 3, 5, 5), 0.5, seed=torch.tensor(1))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
print(f"instruction sets: {', '.join(_C.available_isas())}; threads: {_C.max_threads()} of {torch.get_num_threads()}")
assert _C.max_threads() == torch.get_num_threads()

mapped = re.findall(r"/\S+", Path("/proc/self/maps").read_text(encoding="utf-8"))
runtimes = {path for path in mapped if re.match(r"lib(g|i|)omp\d*\b", Path(path).name)}
print(f"OpenMP: {', '.join(runtimes)}")
assert len(runtimes) == 1, runtimes
