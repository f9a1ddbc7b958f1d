"""What the documents name is there: files by their path or their name, links, and commands of make."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "firmware_profiles" / "README.md"]
# Where a path in backticks may begin: the chapter on the store has the names of the store's files alone.
ROOTS = [ROOT, ROOT / "agent" / "store", ROOT / "_native" / "core"]
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|pyx|c|h|toml|md|sh))`")
FOLDER = re.compile(r"`((?:agent|tests|docs|benchmarks|_native|firmware_profiles)/[\w/.-]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
OF_USERS = {"gateway.toml", "conf.d/x.toml"}  # a reader's own files
MADE = {"agent/_native"}  # the link that setup.py makes


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    named = {*FILE.findall(text), *FOLDER.findall(text)} - OF_USERS - MADE
    lost = [name for name in named if not any((root / name).exists() for root in [*ROOTS, document.parent])]
    broken = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert (lost, broken) == ([], [])


def test_the_table_of_the_core_has_each_of_its_files() -> None:
    design = (ROOT / "docs" / "DESIGN.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?: `\w+`)*) \|", design.partition("files of `_native/core`")[2], re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"\w+", row)]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "_native" / "core").glob("*.c"))
