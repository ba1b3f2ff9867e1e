"""What a document tells its reader to type: the commands of its console blocks, and what is printed below each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from local_job import ROOT

README, INSTALLING, FIRST_JOB = ROOT / "README.md", ROOT / "docs/installing.md", ROOT / "docs/first-job.md"
SECTION = "On a cluster"
"""Of the README; what stands above it needs no cluster, and is run by tests/e2e/local/test_documents.py."""


@dataclass(frozen=True)
class Command:
    """One line that begins with `$ `, and what the document says it prints."""

    document: str
    line: str
    printed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {self.line}"


def text(document: Path) -> str:
    """The document; of the README the section on clusters."""
    whole = document.read_text()
    if document != README:
        return whole
    return whole.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]


def blocks(document: Path, language: str) -> list[str]:
    """The document's blocks of this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(document), re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[Command]:
    """The commands of all console blocks."""
    found: list[Command] = []
    for block in blocks(document, "console"):
        assert block.startswith("$ "), f"{document.name}: a console block begins with a command:\n{block}"
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *printed = part.rstrip("\n").split("\n")
            found.append(Command(document.name, line, tuple(printed)))
    return found


def shapes(lines: list[str]) -> set[str]:
    """The first words of lines that were printed, without what differs from run to run: hashes, numbers, how many there are."""
    words = (line.split()[0] for line in lines if line.strip())
    return {re.sub(r"#(,#)+", "#", re.sub(r"\d+", "#", re.sub(r"(?<=-)[0-9a-f]{5}(?=-)", "#", word))) for word in words}
