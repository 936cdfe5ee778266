"""From a run folder or a checkpoint to a policy that acts.

- `load_policy`
- `acting_policy`: the same of what is in memory
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.policy import Policy
from ray.util import log_once

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models.averaged_weights import AveragedWeights
from rllib_seq.training.acting import preprocessing
from rllib_seq.training.acting.networks import NewStackNetwork, OldStackNetwork
from rllib_seq.training.acting.policy import TrainedPolicy
from rllib_seq.training.storage.files import check_seal
from rllib_seq.training.storage.locations import local_copy
from rllib_seq.training.storage.run_folder import (
    UNREADABLE_PICKLE,
    find_checkpoint,
    modules_folder,
    unreadable_checkpoint,
)


def load_policy(checkpoint: Path | str, policy_id: str | None = None) -> TrainedPolicy:
    """Load a policy that was trained with RLlib, of this package's models or RLlib's own.

    Checkpoints are pickles: load none that you do not trust.

    Args:
        checkpoint: a run folder of `rllib-seq train` (its newest checkpoint), one of its
            checkpoints, or what `Algorithm.save_to_path` or `Algorithm.save` wrote; a path or URI.
        policy_id: which, if there are several policies (RLlib's policy or module id).

    Returns:
        See `TrainedPolicy`.

    Raises:
        UserError: there is no such checkpoint or policy, or it cannot be read.
    """
    with local_copy(str(checkpoint)) as place:
        folder = find_checkpoint(Path(place))
        check_seal(folder)
        try:
            return _load(folder, policy_id)
        except UserError:
            raise
        except UNREADABLE_PICKLE as error:
            raise unreadable_checkpoint(checkpoint, error) from error


def acting_policy(model: Policy | RLModule) -> TrainedPolicy:
    """Act with a policy of the old API stack, or a module of the new one, that is in memory.

    A module has no connectors with it: it acts on observations of its own space.
    """
    if isinstance(model, RLModule):
        around = preprocessing.Preprocessing(model.observation_space, model.action_space)
        return TrainedPolicy(NewStackNetwork(model), around)
    if isinstance(model, AveragedWeights):
        model = model.acting()
    return TrainedPolicy(OldStackNetwork(model), preprocessing.old_stack(model))


def _load(checkpoint: Path, policy_id: str | None) -> TrainedPolicy:
    rllib_seq.register()  # Ray forgets it when it is shut down
    modules = modules_folder(checkpoint)
    names = sorted(child.name for child in modules.iterdir() if child.is_dir())
    if policy_id is None and len(names) == 1:
        policy_id = names[0]
    if policy_id not in names:
        given = "" if policy_id is None else f", not {policy_id!r}"
        raise UserError(
            f"checkpoint {str(checkpoint)!r} holds the policies {', '.join(names)}{given}; name "
            "one: load_policy(checkpoint, policy_id=...)"
        )
    if modules.name == "policies":
        return acting_policy(Policy.from_checkpoint(str(modules / policy_id)))
    module = _load_module(modules / policy_id)
    around = preprocessing.new_stack(module, checkpoint / "env_runner")
    return TrainedPolicy(NewStackNetwork(module), around)


def _load_module(folder: Path) -> RLModule:
    # RLlib only warns about a class that it cannot import, and builds a module without networks.
    saved = pickle.loads((folder / RLModule.CLASS_AND_CTOR_ARGS_FILE_NAME).read_bytes())["class"]
    # Every RLModule makes this deprecated object in RLlib's own constructor, of
    # which RLlib warns once per process. A user can change nothing, so let it count as said.
    log_once("RLModule(config=[RLModuleConfig object])")
    module = RLModule.from_checkpoint(str(folder))
    assert type(module) is saved, f"{folder} holds a {saved}, and RLlib made a {type(module)} of it"
    assert isinstance(module, torch.nn.Module)
    module.eval()
    return module
