"""What SECURITY.md says of files, held against the sources, and CITATION.cff, held against its own format."""

import ast
import re

import pytest

from tests.support.paths import ROOT

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
SOURCES = [path for room in ("sdfast", "kernels") for path in (ROOT / room).rglob("*.py")]


def calls() -> list[tuple[str, dict[str, object]]]:
    """Return what the package calls, as it is written, with the arguments by name that are constants."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = {x.arg: x.value.value for x in node.keywords if x.arg and isinstance(x.value, ast.Constant)}
                found.append((ast.unparse(node.func), given))
    return found


def test_nothing_is_unpickled():
    made = calls()
    loads = [given for name, given in made if name == "torch.load"]
    assert loads and all(given.get("weights_only") is True for given in loads)
    assert not [
        name for name, _ in made if re.fullmatch(r"(pickle|marshal|shelve|dill|joblib)\.\w+|np\.load|eval|exec", name)
    ]
    assert not [given for _, given in made if given.get("allow_pickle")]


def test_only_the_model_named_by_the_user_is_imported():
    """Modules are imported by names that are written here, or by that of `--model`."""
    importing = {path.relative_to(ROOT).as_posix() for path in SOURCES if "import_module(" in path.read_text("utf-8")}
    assert importing == {
        "sdfast/backends/table.py",
        "sdfast/foundation/extras.py",
        "sdfast/models/own.py",
        "sdfast/training/callbacks.py",
    }


def test_the_options_it_names_are_there():
    from sdfast.commands.main import parser

    help_of_all = "".join(x.format_help() for x in parser()._subparsers._group_actions[0].choices.values())
    for option in set(re.findall(r"`(--[\w-]+)", SECURITY)):
        assert option in help_of_all, option


def test_citation_is_of_the_format():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with transformers, of sdfast[test]")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys(), "what the format asks for"
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software" and cited["license"] == "MIT"
    paper = cited["preferred-citation"]
    assert {"type", "title", "authors", "journal", "year", "doi"} <= paper.keys() and paper["type"] == "article"
    assert all({"family-names", "given-names"} == author.keys() for author in paper["authors"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["doi"] in readme and all(author["family-names"] in readme for author in paper["authors"])
