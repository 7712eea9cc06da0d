"""Documents: links lead somewhere, the index is whole, and the page of flags is up to date."""

import pathlib
import re

import flags_page
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])


def anchors(document: pathlib.Path) -> set[str]:
    """What GitHub calls the headings of a document in links."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    for link in links:
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_index_names_every_document():
    index = (ROOT / "docs/README.md").read_text()
    names = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert {name for name in names if f"]({name})" in index} == names


def test_the_page_about_installing_names_every_command():
    page = (ROOT / "docs/install.md").read_text()
    commands = re.findall(r"^    (simclr-\w+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert commands and [name for name in commands if f"`{name}`" not in page] == []


def test_the_page_of_flags_is_up_to_date():
    assert flags_page.PAGE.read_text() == flags_page.page(), "run python tests/flags_page.py"


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160
