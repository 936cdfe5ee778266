"""Learners of the new API stack that also learn auxiliary heads.

- `AuxiliaryLossMixin`: adds the losses of the heads to any TorchLearner's loss
- `auxiliary_learner`: the learner of a config, with it
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor

from rllib_seq.errors import UserError
from rllib_seq.models.auxiliary import AUXILIARY_LOGITS, auxiliary_losses, label_column


class AuxiliaryLossMixin(TorchLearner):
    """Adds the losses of a module's auxiliary heads to any TorchLearner's loss: put it first.

    The module has `auxiliary`, an `AuxiliaryHeads`, and its `forward_train` returns their logits
    under `AUXILIARY_LOGITS`; the batch has the labels of `EpisodeLabels`. A module without
    `auxiliary` is left alone.

    Examples:
        >>> class MyLearner(AuxiliaryLossMixin, PPOTorchLearner): ...
    """

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Return the loss of the algorithm plus the weighted losses of the heads.

        Raises:
            UserError: the batch has no labels.
        """
        loss = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        auxiliary = getattr(self.module[module_id].unwrapped(), "auxiliary", None)
        if auxiliary is None or not auxiliary.heads:
            return loss
        try:
            # [N, horizon, 3], or [B, T, horizon, 3] of sequences, whose padding is no label.
            labels = {name: batch[label_column(name)].flatten(0, -3) for name in auxiliary.heads}
        except KeyError:
            raise UserError(
                "auxiliary heads have no labels to learn from; add EpisodeLabels from "
                "rllib_seq.models.auxiliary to the learner connectors"
            ) from None
        mask = batch.get(Columns.LOSS_MASK)
        steps = batch[Columns.REWARDS].numel() if mask is None else mask.sum()
        total, losses = auxiliary_losses(auxiliary.heads, fwd_out[AUXILIARY_LOGITS], labels, steps)
        self.metrics.log_dict(losses, key=module_id, window=1)
        return loss + total


class PPOAuxiliaryLearner(AuxiliaryLossMixin, PPOTorchLearner):
    """PPO with auxiliary heads."""


class APPOAuxiliaryLearner(AuxiliaryLossMixin, APPOTorchLearner):
    """APPO with auxiliary heads."""


class IMPALAAuxiliaryLearner(AuxiliaryLossMixin, IMPALATorchLearner):
    """IMPALA with auxiliary heads."""


_LEARNERS: dict[type[Learner], type[Learner]] = {
    PPOTorchLearner: PPOAuxiliaryLearner,
    APPOTorchLearner: APPOAuxiliaryLearner,
    IMPALATorchLearner: IMPALAAuxiliaryLearner,
}


def auxiliary_learner(config: AlgorithmConfig) -> type[Learner]:
    """Return the learner class of a config, with the losses of auxiliary heads in it.

    Raises:
        UserError: the config has a learner of its own that cannot learn them.
    """
    own = config.learner_class
    if issubclass(own, AuxiliaryLossMixin):
        return own
    if own not in _LEARNERS:
        raise UserError(
            f"{own.__name__} does not learn auxiliary heads; let it inherit from "
            "AuxiliaryLossMixin first, or remove auxiliary"
        )
    return _LEARNERS[own]
