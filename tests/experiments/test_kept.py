"""What an experiment keeps of its runs, and which of them a later one takes."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

import experiments
from experiments.debias.experiment import AROUND
from experiments.fusion.experiment import AROUND as AROUND_FUSION
from experiments.kept import Kept, made_by, versions


@dataclass(frozen=True)
class Job:
    row: str
    length: int = 2

    def to_dict(self):
        return asdict(self)


@dataclass(frozen=True)
class Run:
    found: float

    def to_dict(self):
        return asdict(self)


BY, JOB, RUN = {"sdfast": "1", "torch": "2", "code": "ab"}, Job("a"), Run(0.25)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "runs.jsonl"
    Kept(Run, path, by=BY).add(JOB, RUN)
    return path


def test_a_run_is_found_by_its_job_and_nothing_else(path):
    kept = Kept(Run, path, resume=True, by=BY)
    assert kept.find(JOB) == RUN and kept.others == 0
    assert kept.find(Job("b")) is kept.find(replace(JOB, length=3)) is None
    assert Kept(Run, path, by=BY).find(JOB) is None and path.read_text() == "", "without resume it starts afresh"


@pytest.mark.parametrize("change", [{"sdfast": "0"}, {"torch": "3"}, {"code": "ac"}])
def test_runs_of_other_code_are_taken_only_if_asked_for(path, change):
    kept = Kept(Run, path, resume=True, by=BY | change)
    assert kept.find(Job("b")) is None
    with pytest.raises(ValueError, match=r"--resume: .*runs\.jsonl has runs of other code or versions; .* --any-code"):
        kept.find(JOB)
    kept = Kept(Run, path, resume=True, by=BY | change, any_code=True)
    assert kept.find(JOB) == RUN and kept.others == 1
    kept.add(Job("b"), Run(0.5))
    again = Kept(Run, path, resume=True, by=BY | change)
    assert again.find(Job("b")) == Run(0.5)
    with pytest.raises(ValueError, match="other code"):  # nobody forgets what they were made by
        again.find(JOB)


def test_runs_that_do_not_say_what_made_them_are_taken_only_if_asked_for(path):
    path.write_text(json.dumps({"job": JOB.to_dict(), "run": RUN.to_dict()}) + "\n")
    with pytest.raises(ValueError, match=r"does not say by what code and versions its runs were made; leave"):
        Kept(Run, path, resume=True, by=BY).find(JOB)
    kept = Kept(Run, path, resume=True, by=BY, any_code=True)
    assert kept.find(JOB) == RUN and kept.others == 1


def test_a_line_that_was_cut_off_is_done_again_and_a_damaged_one_is_an_error(path):
    whole = path.read_text()
    path.write_text(whole + whole[:30])
    assert Kept(Run, path, resume=True, by=BY).find(JOB) == RUN and path.read_text() == whole
    for wrong in ('{"job": {}}', '{"job": {}, "run": {"lost": 1}}', '{"job": {}, "run": 3}', "7"):
        path.write_text(f"{whole}{wrong}\n")
        with pytest.raises(ValueError, match=r"--resume: line 2 of .*runs\.jsonl is damaged"):
            Kept(Run, path, resume=True, by=BY)
        assert path.read_text() == f"{whole}{wrong}\n", "nothing is lost"


def test_code_is_all_that_makes_runs(tmp_path, monkeypatch):
    """Not what starts, sums up or shows them; those names are of files that there are."""
    here = Path(experiments.__file__).parent
    for package, around in (("debias", AROUND), ("fusion", AROUND_FUSION)):
        names = {path.stem for path in (here / package).glob("*.py")}
        assert set(around) < names and {"training", "data", "model", "rows"} <= names - set(around)
    (tmp_path / "own").mkdir()
    for name in ("reproducible.py", "own/training.py", "own/results.py"):
        (tmp_path / name).write_text("1\n")
    monkeypatch.setattr("experiments.kept.__file__", str(tmp_path / "kept.py"))
    first = made_by("own", ["results"])
    assert first == {**versions(), "code": first["code"]}
    (tmp_path / "own/results.py").write_text("2\n")
    assert made_by("own", ["results"]) == first
    for name in ("reproducible.py", "own/training.py", "own/more.py"):
        (tmp_path / name).write_text("2\n")
        changed = made_by("own", ["results"])
        assert changed["code"] != first["code"]
        first = changed
