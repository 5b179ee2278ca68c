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


# A terminal in which somebody types words and a tab; what becomes of them stands in brackets.
ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D'
zpty -w z 'ask() { zle complete-word; print -r -- "[""$BUFFER]"; BUFFER= }; zle -N ask; bindkey "^I" ask; print rea""dy'
zpty -r z out '*ready*'
for typed in "$@"; do
    zpty -w -n z "$typed"$'\t'
    zpty -r z out '*\[*\]*'
    print -r -- "${${out##*\[}%%\]*}"
done
zpty -d z
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_completes_commands_options_choices_and_files(main, tmp_path):
    (tmp_path / "_sdfast").write_text(main("completion", "zsh")[1])
    (tmp_path / "videos").mkdir()
    asked = {
        "sdfast me": "sdfast measure",
        "sdfast masks --over": "sdfast masks --overwrite",
        "sdfast measure --kind int": "sdfast measure --kind intraclass",
        "sdfast ood --videos vid": "sdfast ood --videos videos",
    }
    command = ["zsh", "-f", "-c", ZSH, "zsh", *asked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert [line.rstrip(" /") for line in done.stdout.splitlines()] == [*asked.values()], done.stderr


def test_other_shells_and_a_missing_package_are_said(main, monkeypatch):
    code, _, err = main("completion", "fish")
    assert code == 2
    assert_one_line(err, "invalid choice: 'fish'", "bash")
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, _, err = main("completion", "bash")
    assert code == 2
    assert_one_line(err, "shtab is missing, which is for completion in a shell: pip install 'sdfast[completion]'")
