"""What a sweep may change in a config.

- `apply_sample`: a trial's settings, written into a config
- `default_point`: the config's own values of what is searched, to be tried first
- `check_space`: refuses a search space whose settings a config does not have

A search space is a dict of Ray Tune's, by the names of AlgorithmConfig's settings (`lr`,
`train_batch_size`, ...). Two keys hold dicts of their own: `sequence_config` (fields of
`SequenceConfig`, on both API stacks) and `env_config`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.search.sample import Domain

from rllib_seq.errors import UserError
from rllib_seq.training.config.checks import auction_config, model_settings
from rllib_seq.training.config.experiment import change_model

_NESTED = ("sequence_config", "env_config")
Path = tuple[str, ...]


def apply_sample(config: AlgorithmConfig, sample: Mapping[str, Any]) -> AlgorithmConfig:
    """Writes a trial's settings into a config.

    Args:
        config: is changed in place and returned.
        sample: of the search space.

    Raises:
        UserError: the config has no such setting.
    """
    for name, value in sample.items():
        if name == "sequence_config":
            change_model(config, **value)
        elif name == "env_config":
            config.environment(env_config={**config.env_config, **value})
        else:
            _current(config, (name,))
            config.update_from_dict({name: value})
    return config


def default_point(config: AlgorithmConfig, search_space: Mapping[str, Any]) -> dict[str, Any]:
    """The config's own values of what is searched: a point of the search space.

    Give it to a search algorithm as `points_to_evaluate=[default_point(config, search_space)]`;
    without a search algorithm that is done for you.

    Raises:
        UserError: the config has no such setting.
    """
    point: dict[str, Any] = {}
    for path, domain in paths(search_space):
        if is_searched(domain):
            parent = point
            for name in path[:-1]:
                parent = parent.setdefault(name, {})
            parent[path[-1]] = _current(config, path)
    return point


def check_space(config: AlgorithmConfig, search_space: object) -> None:
    """Refuses what is no search space for a config.

    Raises:
        UserError: it is empty, no dict, names what the config does not have, or what has no effect.
    """
    if not isinstance(search_space, dict) or not search_space:
        raise UserError(
            f"search_space is {search_space!r}; give a dict such as "
            "{'lr': tune.loguniform(1e-4, 1e-2)}, see tune_configs/ppo_asha.py"
        )
    for path, value in paths(default_point(config, search_space)):
        schedule = f"{path[-1]}_schedule"
        if isinstance(value, (list, tuple, dict)):
            raise UserError(
                f"search_space searches {'/'.join(path)}, which is {value!r}; search a number or a "
                "name (lr, say, and not lr_schedule)"
            )
        if len(path) == 1 and getattr(config, schedule, None) is not None:
            raise UserError(
                f"search_space searches {path[0]}, and {schedule} of the config wins over it; set "
                f"{schedule}=None"
            )


def paths(space: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The settings of a search space or of a sample of it, with the names that lead there."""
    for name, value in space.items():
        if name in _NESTED and not above and isinstance(value, Mapping):
            yield from paths(value, (name,))
        else:
            yield (*above, name), value


def is_searched(domain: Any) -> bool:
    """Whether a value of a search space is drawn, and not fixed."""
    return isinstance(domain, Domain) or (isinstance(domain, dict) and "grid_search" in domain)


def _current(config: AlgorithmConfig, path: Path) -> Any:
    holder: Any = config
    name = path[-1]
    if path[0] == "sequence_config":
        holder = model_settings(config)
    elif path[0] == "env_config":
        if name in config.env_config:
            return config.env_config[name]
        holder = auction_config(config)
    elif name == "lambda":  # as RLlib spells it outside of Python
        name = "lambda_"
    if holder is None or not hasattr(holder, name):
        raise UserError(
            f"search_space names {'/'.join(path)!r}, which {type(config).__name__} of this module "
            "does not have; name settings as its methods do (lr, train_batch_size), and those of "
            "the model under 'sequence_config'"
        )
    return getattr(holder, name)
