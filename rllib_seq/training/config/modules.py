"""Finds and imports experiments: shipped ones by a short name, a user's own by module or file.

- `load_config`: a copy of the module's `config`.
- `load_module`: the module itself, for a sweep's search space.
- `import_experiment`: for what it registers.
- `shipped_experiments`: the short names.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from traceback import extract_tb
from typing import Any

from ray import cloudpickle
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_seq.errors import UserError
from rllib_seq.training.config.neighbours import import_neighbours
from rllib_seq.training.storage.files import read_json

_SHIPPED = "rllib_seq.tune_configs"
_WHAT_TO_GIVE = "give a shipped experiment such as ppo, a module of your own, or a .py file"


def default_module(preset: str | None) -> str:
    """The config that trains in a preset if none is named; None is as good as `journey`."""
    special = {"display": "tune_configs.ppo_display", "log": "tune_configs.ppo_log"}
    return special.get(preset or "", "tune_configs.ppo")


def load_config(module: str) -> AlgorithmConfig:
    """Imports a config.

    Args:
        module: a shipped experiment (`ppo`, or `tune_configs.ppo` where the user has no
            `tune_configs` of their own), a module of the user's (`my_package.my_config`), or the
            path of a Python file; it holds an AlgorithmConfig named `config`. The current folder
            is searched, too, and the
            folder of a file.

    Returns:
        A copy that may be changed.

    Raises:
        UserError: there is no such module, or it has no such config.
    """
    return config_in(load_module(module), module)


def config_in(loaded: Any, module: str) -> AlgorithmConfig:
    """The config of a module that is imported; see `load_config`."""
    config = getattr(loaded, "config", None)
    if not isinstance(config, AlgorithmConfig):
        raise UserError(
            f"{module} has no AlgorithmConfig named 'config'; see tune_configs/ppo.py for one"
        )
    return config.copy(copy_frozen=False)


def load_module(module: str) -> Any:
    """Imports a module by its name or the path of its file; see `load_config`."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as `python -m` does
    return _load_file(Path(module)) if module.endswith(".py") else _load_module(module)


def import_experiment(checkpoint: Path) -> None:
    """Imports what a run was trained with, for the environments that it registers.

    Args:
        checkpoint: in a run folder; of any other, nothing is known.

    Raises:
        UserError: it is gone.
    """
    settings = checkpoint.parent / "config.json"
    if settings.is_file():
        module = read_json(settings).get("module")
        if module is not None:
            load_module(module)


def shipped_experiments() -> list[str]:
    """The short names of the experiments that this package brings."""
    return sorted(module.name for module in pkgutil.iter_modules(_folders(_SHIPPED)))


def _folders(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return [] if spec is None else list(spec.submodule_search_locations or ())


def _full_name(name: str) -> str:
    """The module that a name means: `ppo` is a shipped experiment, whatever else is importable."""
    short = name.removeprefix("tune_configs.")
    if short not in shipped_experiments():
        return name
    if short != name:
        (ours,) = _folders(_SHIPPED)
        if any(not os.path.samefile(folder, ours) for folder in _folders("tune_configs")):
            return name  # the user's own package of this name
    return f"{_SHIPPED}.{short}"


def _load_module(name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"{name!r} is not a module name; {_WHAT_TO_GIVE}")
    name = _full_name(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A missing import inside the user's module is that module's error, not a wrong name.
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        raise UserError(f"no config module {name!r}; {_WHAT_TO_GIVE}") from None


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no config file {str(path)!r}; give a module name or an existing .py file")
    name = f"rllib_seq_config_{path.stem}"  # not the stem: the file may be called json.py
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Workers cannot import a loose file: what it defines travels to them by value. Environments
    # that it registers are pickled on the spot, so this comes first.
    cloudpickle.register_pickle_by_value(module)
    try:
        import_neighbours(path)
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        calls = extract_tb(error.__traceback__)
        of_rllib = "/ray/rllib/algorithms/" in Path(calls[-1].filename).as_posix()
        if not of_rllib and "unexpected keyword argument" not in str(error):
            raise
        lines = [at.lineno for at in calls if Path(at.filename).resolve() == path.resolve()]
        said = " ".join(str(error).split())
        raise UserError(f"{path}, line {lines[-1]}: {said}") from error
    return module
