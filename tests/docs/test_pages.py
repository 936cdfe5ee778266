"""What the pages show exists: links, pictures, commands, options; code runs or compiles."""

import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image
from ray.scripts.scripts import cli as ray_commands

from rllib_seq.benchmarks.memory.curves import draw
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
# Their blocks are whole programs; elsewhere a block may be a part of one, and is compiled.
WHOLE = [
    *("docs/environments/ad-auction.md", "docs/environments/multi-user-ad-auction.md"),
    *("docs/environments/ad-campaign.md", "docs/environments/auction-log.md"),
    *("docs/environments/shared-market.md", "docs/guides/training.md"),
    *("docs/guides/auxiliary-heads.md", "docs/reference/can-i-use-it.md"),
    *("docs/algorithms/lift.md", "docs/algorithms/ppo.md", "docs/algorithms/q-learning.md"),
]


FENCED = re.DOTALL | re.MULTILINE


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """The code blocks of a page in these languages; lines that go on are joined in commands."""
    for language, block in re.findall(r"^```([^\n`]*)\n(.*?)^```$", page.read_text(), FENCED):
        if language in languages:
            yield block if language == "python" else block.replace("\\\n", " ")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path = target.partition("#")[0]
        if "://" in target or not path or Path(path).name in GENERATED:
            continue
        assert (page.parent / path).exists(), target
        if (ROOT / "docs") in page.parents:
            inside = (ROOT / "docs") in (page.parent / path).resolve().parents
            assert inside, f"{target} is not on the site; write the path as code"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation, f"add {page.name} to mkdocs.yml"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_compiles(page):
    for block in blocks(page, "python"):
        compile(block, name_of(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page):
    for block in blocks(page, "", "text"):
        for line in block.splitlines():
            for words in re.findall(r"(?<![\w/-])rllib-seq ([a-z]+[^#&;|]*)", line):
                command, *rest = words.split()
                assert command in COMMANDS, line
                known = {name for option in COMMANDS[command].params for name in option.opts}
                options = [word.partition("=")[0] for word in rest if word.startswith("--")]
                assert set(options) <= known | {"--help"}, line


@pytest.mark.parametrize("page", WHOLE)
def test_whole_programs_run(page):
    for block in blocks(ROOT / page, "python"):
        exec(compile(block, page, "exec"), {})


def lines_of_code(page):
    """Lines of the code blocks that look like commands of a shell."""
    for block in blocks(page, ""):
        for line in block.splitlines():
            yield line.removeprefix("$ ").partition("  #")[0].split()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_scripts_and_commands_of_ray_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in filter(None, lines_of_code(page)):
        if words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "python" and words[1] == "-m":
            assert importlib.util.find_spec(words[2]), words
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), words
        elif words[0] == "ray":
            group = ray_commands
            for word in words[1:]:
                if not hasattr(group, "commands"):
                    break
                assert word in group.commands, words
                group = group.commands[word]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.slow
def test_pictures_are_current():
    sys.path.insert(0, str(ROOT / "docs" / "scripts"))
    try:
        pictures = importlib.import_module("pictures").PLAIN
    finally:
        sys.path.remove(str(ROOT / "docs" / "scripts"))
    for name, draw_it in pictures.items():
        kept = Image.open(ROOT / "docs" / "pictures" / f"{name}.png").convert("RGB")
        drawn = np.asarray(draw_it())
        assert np.array_equal(drawn, np.asarray(kept)), f"{name}: run docs/scripts/pictures.py"
    curves = draw(json.loads((ROOT / "docs" / "results" / "memory.json").read_text()))
    assert curves == (ROOT / "docs" / "pictures" / "memory.svg").read_text()
