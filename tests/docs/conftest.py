"""The built pages."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT, is_unpacked


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The pages as `make docs` builds them, a warning being an error; built once for all processes of a run."""
    if is_unpacked():
        pytest.skip("the source distribution leaves out the pictures")
    for package in ("sphinx", "furo", "myst_parser", "sphinx_copybutton"):
        pytest.importorskip(package, reason="needs pip install 'sdfast[docs]'")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    out = folder / "site"
    with open(folder / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", out]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
            if done.returncode:
                shutil.rmtree(out, ignore_errors=True)  # the next process fails, too
            assert done.returncode == 0, done.stdout + done.stderr
    return out
