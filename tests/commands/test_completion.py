"""`sdfast completion`: what a shell makes of the script."""

import shutil
import subprocess
import sys

import pytest

from tests.support.command import assert_one_line

pytest.importorskip("shtab")


def completed(script, *words):
    """Return what bash offers for the last of some words."""
    ask = (
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_sdfast; printf '%s\\n' ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_options_and_choices(main):
    code, script, _ = main("completion", "bash")
    assert code == 0
    assert completed(script, "sdfast", "me") == ["measure"]
    assert set(completed(script, "sdfast", "measure", "--over")) == {"--overwrite"}
    assert completed(script, "sdfast", "measure", "--kind", "int") == ["intraclass"]
    assert "zsh" in completed(script, "sdfast", "completion", "")


def test_bash_completes_files(main, tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path)
    _, script, _ = main("completion", "bash")
    assert completed(script, "sdfast", "measure", "--out", "vid") == ["videos"]


def test_zsh_has_a_script_of_its_own(main):
    code, script, _ = main("completion", "zsh")
    assert code == 0 and script.startswith("#compdef sdfast") and "--overwrite" in script
    if shutil.which("zsh"):
        done = subprocess.run(["zsh", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_other_shells_and_a_missing_package_are_said(main, monkeypatch):
    code, _, err = main("completion", "fish")
    assert code == 2
    assert_one_line(err, "invalid choice: 'fish'", "bash")
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, _, err = main("completion", "bash")
    assert code == 2
    assert_one_line(err, "shtab is missing, which is for completion in a shell: pip install 'sdfast[completion]'")
