"""Every block of code of every page is run, page by page and in order, or says why it is not."""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sdfast.commands import main
from sdfast.commands.main import parser
from tests.support.pages import SHOWN, Block, blocks, name_of, pages
from tests.support.paths import ROOT
from tests.support.videos import write_video

PAGES = {name_of(page): blocks(page) for page in pages()}
RUN = {name: found for name, found in PAGES.items() if any(x.language not in SHOWN and not x.not_run for x in found)}
ALL = [(name, block) for name, found in PAGES.items() for block in found]
LEFT_OUT = [pytest.param(*x, id=f"{x[0]}:{x[1].line}") for x in ALL if x[1].not_run and x[1].language == "bash"]
WRITTEN = {"report.json", "report.npz", "channels.csv", "layers.png", "channels.png", "depth.png"}  # by a measurement

# Why blocks are not run, and how many each reason has. Who adds one says so here.
NOT_RUN = {
    "builds an environment": 2,
    "installs a package": 3,
    "takes minutes": 2,
    "trains for hours": 4,
    "needs a GPU": 1,
    "needs videos of the demo by their paths": 1,
    "takes half a minute; the tests of the command do": 1,
    "the tests of the examples do": 1,
    "the tests of the experiment do": 1,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder of three small videos, in which a scene moves."""
    folder = tmp_path_factory.mktemp("pages") / "videos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        scene = np.repeat(rng.integers(0, 256, (12, 160, 3), dtype=np.uint8), 8, axis=0)
        frames = np.stack([np.roll(scene, 3 * t, axis=number % 2) for t in range(32)])
        write_video(folder / f"clip_{number}.mp4", frames, "mpeg4")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_blocks_run_in_order(name, videos, tmp_path, monkeypatch):
    """The blocks of a page share a folder, in which are videos, and their names; a text shows what was printed."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(videos, "videos")
    namespace, printed = {"__name__": "page"}, io.StringIO()
    for block in PAGES[name]:
        if block.language == "text":
            assert set(block.code.splitlines()) <= set(printed.getvalue().splitlines()), f"{name}:{block.line}"
        if block.not_run or block.language in SHOWN:
            continue
        if block.language == "python":
            if block.file:
                Path(block.file).write_text(block.code, encoding="utf-8")
            # So that what fails is shown with the line of the page.
            code = compile("\n" * block.line + block.code, str(ROOT / name), "exec")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
        else:
            for command in block.commands:
                run_command(command, f"{name}:{block.line}")


def run_command(command: str, where: str) -> None:
    """Run a line of bash as a user would: `sdfast` in this process, all else in one of its own."""
    program, *arguments = shlex.split(command)
    if program == "sdfast":
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(arguments)
        assert code == 0 and "Traceback" not in said.getvalue(), f"{where}: {command}\n{said.getvalue()}"
    else:
        run = {"torchrun": ["-m", "torch.distributed.run"], "python": []}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        line = [sys.executable, *run[program], *arguments]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0 and "Traceback" not in done.stderr, f"{where}: {command}\n{done.stderr}"
    if "measure" in arguments and "--out" in arguments:
        folder = Path(arguments[arguments.index("--out") + 1])
        assert {path.name for path in folder.iterdir()} >= WRITTEN, f"{where}: {command}"


def test_every_block_is_code_that_is_run_or_says_why_not():
    languages = {(name, block.line): block.language for name, block in ALL}
    unknown = {where: language for where, language in languages.items() if language not in SHOWN | {"python", "bash"}}
    assert not unknown, "no language that the tests know"
    counted = Counter(block.not_run for _, block in ALL if block.not_run)
    assert counted == NOT_RUN
    run = [block for _, block in ALL if block.language not in SHOWN and not block.not_run]
    assert len(run) >= 25
    assert any("torchrun" in block.code for block in run) and any("--resume" in block.code for block in run)


@pytest.mark.parametrize(
    ("name", "block"),
    [pytest.param(*x, id=f"{x[0]}:{x[1].line}") for x in ALL if x[1].not_run and x[1].language == "bash"],
)
def test_what_is_not_run_exists(name, block: Block):
    """Targets of make, modules of python, and subcommands with their options are there."""
    targets = re.search(r"^\.PHONY: (.+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    for command in block.commands:
        words = shlex.split(command)
        while re.fullmatch(r"\w+=\S+", words[0]):  # settings of the environment
            words.pop(0)
        program, *arguments = words
        if program == "make":
            assert set(arguments) <= set(targets), command
        elif program == "sdfast":
            parser().parse_args(arguments)
        elif Path(program).name == "python" and arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), command
        else:
            assert Path(program).name in {"pip", "python", "eval", "accelerate", "torchrun"}, command


def test_the_parser_of_pages_finds_what_is_there(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: it would take hours -->\n```bash\n# all\nmake x \\\n  y  # z\n```\n\n```{toctree}\na\n```\n"
        "```python\n# mine.py\nx = 1\n```\n"
    )
    bash, python = blocks(page)
    assert bash == Block("bash", "# all\nmake x \\\n  y  # z\n", 2, "it would take hours")
    assert bash.commands == ["make x    y"] and python.file == "mine.py" and python.not_run is None
