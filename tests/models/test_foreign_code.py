"""Code of others: what lies beside a model runs when asked for only, and what lies in a folder shadows nothing."""

import builtins
import json
import subprocess
import sys

import pytest

from sdfast.models import load_model
from tests.support.command import assert_one_line, run

PLANTED = """
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel

(Path({folder!r}) / "ran").touch()


class Config(PreTrainedConfig):
    model_type = "planted"
    num_frames = 4
    image_size = 8


class Net(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.body = torch.nn.ModuleList([torch.nn.Linear(3, 3)])
        self.post_init()
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Write a model of Hugging Face whose code leaves a file behind; whoever asks whether to run it is told yes."""
    module_utils = pytest.importorskip("transformers.dynamic_module_utils")
    folder = tmp_path / "planted"
    folder.mkdir()
    names = {"AutoConfig": "planted_code.Config", "AutoModel": "planted_code.Net"}
    (folder / "config.json").write_text(json.dumps({"model_type": "planted", "auto_map": names}))
    (folder / "planted_code.py").write_text(PLANTED.format(folder=str(folder)))
    monkeypatch.setattr(module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(builtins, "input", lambda *_: "yes")
    yield folder
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.mark.parametrize("weights", [None, "random"])
def test_code_beside_a_model_is_refused(planted, weights):
    with pytest.raises(ValueError, match=r"brings code of its own; --trust-remote-code.*trust_remote_code=True"):
        load_model(f"hf:{planted}", weights)
    assert not (planted / "ran").exists()


def test_code_beside_a_model_runs_when_asked_for(planted):
    model = load_model(f"hf:{planted}", "random", trust_remote_code=True)
    assert (planted / "ran").exists()
    assert (model.clip_frames, model.frame_size, model.layers) == (4, (8, 8), ("body.0",))


def test_the_command_refuses_it_in_one_line(planted, capsys):
    code, out, err = run(capsys, "layers", f"hf:{planted}")
    assert code == 2 and not out
    assert_one_line(err, "--trust-remote-code")
    assert not (planted / "ran").exists()


def test_files_beside_your_own_model_stand_in_for_no_package(tmp_path):
    """As the installed command runs it: the working directory is not on the path before."""
    (tmp_path / "shadow_net.py").write_text("import colorsys, torch\nnet = lambda: torch.nn.Linear(3, 3)\n")
    (tmp_path / "colorsys.py").write_text("raise SystemExit('the wrong colorsys')\n")
    code = (
        "import sys\n"
        "sys.modules.pop('colorsys', None)\n"
        "import sdfast\n"
        "print(type(sdfast.load_model('shadow_net:net').module).__name__, sys.modules['colorsys'].__file__)"
    )
    # -I leaves the working directory out, and PYTHONPATH, too.
    paths = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys\nsys.path[:] = {paths!r}\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Linear ") and str(tmp_path) not in done.stdout


def test_a_module_of_the_same_name_elsewhere_is_named(tmp_path, monkeypatch):
    (tmp_path / "colorsys.py").write_text("net = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(ValueError, match=r"model: colorsys has no 'net'; it was found as .*lib.*colorsys\.py"):
        load_model("colorsys:net")


def test_the_help_says_that_code_runs(capsys):
    code, out, _ = run(capsys, "measure", "--help")
    assert code == 0 and "package.module:factory, whose code runs" in " ".join(out.split())
