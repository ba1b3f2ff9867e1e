"""docs/glossary.md is the authority: what it says is not used for a term is used nowhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GLOSSARY = ROOT / "docs" / "glossary.md"
ABOUT_OTHERS = {"glossary.md", "comparison.md", "benchmarks.md"}
"""Pages that speak of other products, in their words."""
PAGES = [
    page for page in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))) if page.name not in ABOUT_OTHERS
]
SOURCES = [path for top in ("crds", "operator", "trainer_image") for path in sorted((ROOT / top / "src").rglob("*.py"))]


def rows() -> list[list[str]]:
    """The glossary's rows: term, meaning, words that are not used for it."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")]
    return [row for row in cells if row[0] != "term"]


def forbidden() -> set[str]:
    """Words that are not used."""
    return {word.strip() for row in rows() for word in row[2].split(",") if word.strip()}


def test_the_glossary_explains_each_term_once() -> None:
    terms = [row[0] for row in rows()]
    assert len(terms) > 30
    assert sorted(terms) == sorted(set(terms))
    assert all(row[1] for row in rows())
    assert not forbidden() & set(terms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_uses_the_glossarys_words(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    assert {word for word in forbidden() if re.search(rf"\b{word}s?\b", prose, re.IGNORECASE)} == set()


def test_public_names_use_the_glossarys_words() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        if any(word in re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower().split("_") for word in forbidden())
    ]
    assert found == []
