"""A hook of mkdocs: pages of the reference that are read off the code when the site is built.

- the command line, from typer
- the settings of the models, the worlds and the server, from their dataclasses
- the experiments that are shipped, from their docstrings
- metrics and notices of the server, from its application
- a page per public room, from its `__all__`; mkdocstrings adds the docstrings
"""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from reference_api import ROOMS, room_page
from reference_server import server_page
from reference_settings import command_page, experiment_page, settings_page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; see mkdocs."""
    pages = {
        "reference/command-line.md": command_page(),
        "reference/settings.md": settings_page(),
        "reference/experiments.md": experiment_page(),
        "reference/server.md": server_page(),
        **{f"reference/api/{room}.md": room_page(room) for room in ROOMS},
    }
    for path, page in pages.items():
        files.append(File.generated(config, path, content=page))
    return files
