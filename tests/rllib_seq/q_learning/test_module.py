"""The Q module acts greedily or exploring as asked, and gives RLlib's loss what it needs."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.algorithms.dqn.dqn_learner import (
    ATOMS,
    QF_LOGITS,
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_TARGET_NEXT_PREDS,
    QF_TARGET_NEXT_PROBS,
)
from torch import Tensor

from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models.rl_module.windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
)
from rllib_seq.q_learning import SequenceQRLModule
from rllib_seq.q_learning.exploration import EPSILON, NOISE_SEED
from rllib_seq.q_learning.replay import NEXT

SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
}
OPTIONS: dict[str, Any] = {
    "double_q": True,
    "dueling": True,
    "num_atoms": 1,
    "v_min": -2.0,
    "v_max": 2.0,
    "noisy": False,
    "std_init": 0.5,
    "epsilon": 0.0,
}


def _module(actions: Any = None, **options: Any) -> SequenceQRLModule:
    torch.manual_seed(0)
    module = SequenceQRLModule(
        observation_space=Box(-np.inf, np.inf, (3,)),
        action_space=actions or Discrete(4),
        model_config={"sequence_config": SMALL, **OPTIONS, **options},
    )
    with torch.no_grad():
        for parameter in module.q.head.parameters():
            parameter.mul_(30.0)  # so that actions differ from window to window
    module.make_target_networks()
    return module


def _batch(rows: int, seed: int = 0, prefix: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        prefix + "obs": torch.randn(rows, 4, 3, generator=generator),
        prefix + PREVIOUS_ACTIONS: torch.randint(4, (rows, 4), generator=generator),
        prefix + PREVIOUS_REWARDS: torch.randn(rows, 4, generator=generator),
        prefix + STEPS_BEFORE: torch.randint(5, (rows,), generator=generator),
    }


@pytest.mark.parametrize("atoms", [1, 5])
@pytest.mark.parametrize("dueling", [False, True])
def test_acting_is_greedy_unless_it_explores(atoms: int, dueling: bool) -> None:
    module, batch = _module(num_atoms=atoms, dueling=dueling), _batch(200)
    best = module.forward_inference(batch)["actions"]
    assert len(set(best.tolist())) > 1
    assert torch.equal(best, module.compute_q_values(batch)[QF_PREDS].argmax(1))
    assert torch.equal(module.forward_exploration(batch, t=0)["actions"], best)
    # Epsilon per row: the first half explores, the second does not.
    batch[EPSILON] = torch.tensor([1.0, 0.0]).repeat_interleave(100)
    actions = module.forward_exploration(batch, t=0)["actions"]
    assert torch.equal(actions[100:], best[100:])
    share = (actions[:100] == best[:100]).float().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 100) ** 0.5


def test_the_schedule_of_epsilon_is_read() -> None:
    module, batch = _module(epsilon=[(0, 1.0), (100, 0.0)]), _batch(400)
    best = module.forward_inference(batch)["actions"]
    for t, share in ((0, 0.25), (50, 0.625), (100, 1.0)):
        same = (module.forward_exploration(batch, t=t)["actions"] == best).float().mean()
        assert abs(same - share) <= 4 * (share * (1 - share) / 400) ** 0.5


def test_streams_with_one_noise_act_alike_and_differ_from_others() -> None:
    module, batch = _module(noisy=True), _batch(1)
    batch = {name: column.expand(60, *column.shape[1:]) for name, column in batch.items()}
    batch[NOISE_SEED] = torch.arange(2).repeat_interleave(30)
    batch[EPSILON] = torch.zeros(60)
    noise_free = module.forward_inference(batch)["actions"]
    assert len(set(noise_free.tolist())) == 1
    chosen = []
    for seeds in range(20):
        batch[NOISE_SEED] = torch.tensor([seeds, seeds + 100]).repeat_interleave(30)
        actions = module.forward_exploration(batch, t=0)["actions"]
        assert len(set(actions[:30].tolist())) == len(set(actions[30:].tolist())) == 1
        chosen += actions[[0, 30]].tolist()
    assert len(set(chosen)) > 1


@pytest.mark.parametrize("double", [False, True])
def test_the_loss_gets_values_of_both_networks(double: bool) -> None:
    module = _module(double_q=double, num_atoms=5)
    with torch.no_grad():
        module.q.head.advantage.weight.mul_(-1.0)  # the target is behind
    batch = {**_batch(6), **_batch(6, 1, NEXT)}
    later = {name.removeprefix(NEXT): batch[name] for name in batch if name.startswith(NEXT)}
    outputs = module.forward_train(batch)
    assert outputs[QF_LOGITS].shape == (6, 4, 5) and outputs[ATOMS].tolist() == [-2, -1, 0, 1, 2]
    module.eval()
    target = module.forward_target(later)[QF_PREDS]
    online = module.compute_q_values(later)[QF_PREDS]
    assert not torch.allclose(target, online)
    assert torch.allclose(outputs[QF_TARGET_NEXT_PREDS], target, atol=1e-6)
    assert torch.allclose(outputs[QF_NEXT_PREDS], online if double else target, atol=1e-6)
    probabilities = outputs[QF_TARGET_NEXT_PROBS]
    assert torch.allclose(probabilities @ outputs[ATOMS], target, atol=1e-5)
    outputs[QF_PREDS].sum().backward()
    assert all(p.grad is not None for p in module.q.parameters())
    assert all(p.grad is None for p in module._target.parameters())


def test_dropout_is_off_when_acting_and_on_in_the_loss() -> None:
    module, batch = _module(), {**_batch(50), **_batch(50, 1, NEXT)}
    assert torch.equal(*(module.compute_q_values(batch)[QF_PREDS] for _ in range(2)))
    first, second = (module.forward_train(batch) for _ in range(2))
    assert not torch.equal(first[QF_PREDS], second[QF_PREDS])
    for name in (QF_NEXT_PREDS, QF_TARGET_NEXT_PREDS):
        assert torch.equal(first[name], second[name])


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UserError, match="needs Discrete actions, not MultiDiscrete"):
        _module(MultiDiscrete([2, 2]))
    batch = _batch(2)
    batch["obs"][1, 3, 2] = torch.inf
    with pytest.raises(NonFiniteInputError, match="observation feature 2 is inf"):
        _module().forward_inference(batch)
