"""The house's own rules, where no linter has one."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRODUCT = [path for top in ("crds", "operator", "trainer_image", "tests", "examples") for path in (ROOT / top).rglob("*.py")]


def test_the_operator_folder_does_not_hide_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_a_function_of_the_product_has_at_most_50_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {node.end_lineno - node.lineno + 1}"
        for path in PRODUCT
        if "src" in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= 50
    ]
    assert long == []


def test_a_folder_of_the_product_has_at_most_a_dozen_modules() -> None:
    full = [
        str(folder.relative_to(ROOT))
        for top in ("crds", "operator", "trainer_image")
        for folder in (ROOT / top / "src").rglob("*")
        if folder.is_dir() and len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) > 12
    ]
    assert full == []


def test_every_distribution_has_the_same_version() -> None:
    versions = {
        tomllib.loads((ROOT / top / "pyproject.toml").read_text())["project"]["version"] for top in ("crds", "operator", "trainer_image")
    }
    assert len(versions) == 1


def test_no_pickle_is_read_in_the_product() -> None:
    words = ("import pickle", "torch.load(", "allow_pickle=True")
    found = [f"{path.relative_to(ROOT)}: {word}" for path in PRODUCT if "src" in path.parts for word in words if word in path.read_text()]
    assert found == []
