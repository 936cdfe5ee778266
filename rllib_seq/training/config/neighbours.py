"""Lets a config that is a loose file import what lies beside it, in the driver and in workers.

- `import_neighbours`: makes its folder importable, and what it imports from there travel by value
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from ray import cloudpickle


def import_neighbours(path: Path) -> None:
    """Imports the modules beside a file that it imports, so that workers get them by value.

    Workers, which may be on other machines, do not see the folder. What the file registers while it
    is executed is pickled on the spot, so its neighbours must be known before.

    Args:
        path: of a Python file without syntax errors.
    """
    folder = path.resolve().parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # as `python FILE` does
    files, seen = [path], {"rllib_seq"}  # is everywhere
    while files:
        for name in _imported(files.pop()) - seen:
            beside = [file for file in (folder / f"{name}.py", folder / name) if file.exists()]
            if not beside or name in sys.stdlib_module_names:
                continue
            seen.add(name)
            module = importlib.import_module(name)
            if beside[0] in _places(module):
                cloudpickle.register_pickle_by_value(module)
                files += beside[0].rglob("*.py") if beside[0].is_dir() else beside


def _imported(path: Path) -> set[str]:
    """Names of the top-level modules and packages that a file imports."""
    return set(_names(ast.parse(path.read_bytes(), str(path))))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _places(module: object) -> list[Path]:
    """A module's own file, or its folder."""
    file, folders = getattr(module, "__file__", None), getattr(module, "__path__", ())
    return [Path(place).resolve() for place in [*folders, *([file] if file else [])]]
