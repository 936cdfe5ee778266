"""What the pages show exists: links, pictures, code that compiles, commands and their options."""

import re
from pathlib import Path

import pytest
import typer.main

from rllib_seq.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app).commands
GENERATED = {
    "command-line.md",
    "settings.md",
    "experiments.md",
    "server.md",
}  # by docs/scripts/reference.py


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path = target.partition("#")[0]
        if "://" in target or not path or Path(path).name in GENERATED:
            continue
        assert (page.parent / path).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_compiles(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(block, name_of(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page):
    text = page.read_text().replace("\\\n", " ")
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            for words in re.findall(r"(?<![\w/-])rllib-seq ([a-z]+[^#&;|]*)", line):
                command, *rest = words.split()
                assert command in COMMANDS, line
                known = {name for option in COMMANDS[command].params for name in option.opts}
                options = [word.partition("=")[0] for word in rest if word.startswith("--")]
                assert set(options) <= known | {"--help"}, line


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
