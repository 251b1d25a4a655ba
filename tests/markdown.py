"""Sections and tables of Markdown pages."""

import re


def section(page: str, title: str) -> str:
    """The text below a heading of the second level."""
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the tables in a text by the code in their first cell."""
    found = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in found}
