"""Auxiliary heads in the adapters: labels, losses, gradients, and that nothing else changes."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.config import AuxiliaryHead, SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models import (
    AuxiliaryLabels,
    AuxiliaryLossMixin,
    LSTMTransformerModel,
    SequenceRLModule,
    use_sequence_module,
)
from rllib_seq.models.auxiliary import (
    AUXILIARY_LOGITS,
    EpisodeLabels,
    auxiliary_losses,
    label_column,
    label_trajectories,
)
from rllib_seq.models.auxiliary_learners import APPOAuxiliaryLearner, PPOAuxiliaryLearner
from rllib_seq.models.event_labels import labels_from_infos
from rllib_seq.models.rl_module.windows import windows_of
from rllib_seq.nn.heads.auxiliary import event_loss, event_probability
from rllib_seq.q_learning import use_sequence_q_learning

OBS, ACTIONS = Box(-np.inf, np.inf, (3,), np.float32), Discrete(4)
SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "dropout": 0.0,
}
HEADS: dict[str, Any] = {"won": {"given_action": True}, "bought": {"horizon": 3, "weight": 0.5}}


def _model(**config: Any) -> LSTMTransformerModel:
    torch.manual_seed(0)
    settings = {**SMALL, "auxiliary": HEADS, **config}
    return LSTMTransformerModel(OBS, ACTIONS, 4, {}, "model", **settings)


def _module(**config: Any) -> SequenceRLModule:
    torch.manual_seed(1)
    settings = {**SMALL, "auxiliary": HEADS, **config}
    return SequenceRLModule(
        observation_space=OBS, action_space=ACTIONS, model_config={"sequence_config": settings}
    )


def _episode(steps: int = 6, terminated: bool = True) -> SingleAgentEpisode:
    rng = np.random.default_rng(0)
    won, bought = rng.random((2, steps)) < 0.4
    return SingleAgentEpisode(
        observations=list(rng.normal(size=(steps + 1, 3)).astype(np.float32)),
        infos=[{}, *({"won": w, "bought": b} for w, b in zip(won, bought, strict=True))],
        actions=list(rng.integers(4, size=steps)),
        rewards=list(rng.normal(size=steps)),
        terminated=terminated,
        observation_space=OBS,
        action_space=ACTIONS,
        len_lookback_buffer=0,
    ).to_numpy()


def _old_batch(episode: SingleAgentEpisode) -> dict[str, Tensor]:
    """One sequence, as the old stack's train batch holds it."""
    labels = labels_from_infos(episode.get_infos(), True, SequenceConfig(auxiliary=HEADS).auxiliary)
    actions = torch.as_tensor(episode.get_actions())
    return {
        "obs": torch.as_tensor(episode.get_observations(slice(0, len(episode)))),
        SampleBatch.ACTIONS: actions,
        SampleBatch.PREV_ACTIONS: torch.cat([torch.zeros(1, dtype=torch.long), actions[:-1]]),
        SampleBatch.PREV_REWARDS: torch.as_tensor(np.r_[0, episode.get_rewards()[:-1]]),
        **{label_column(name): torch.as_tensor(rows) for name, rows in labels.items()},
    }


def _state(model: LSTMTransformerModel, batch: int) -> list[Tensor]:
    return [part.expand(batch, *part.shape) for part in model.get_initial_state()]


def test_both_stacks_share_the_heads_and_say_the_same() -> None:
    model, module, episode = _model().eval(), _module(), _episode()
    model.load_state_dict(module.state_dict())
    assert any(name.startswith("auxiliary.bought.") for name in model.state_dict())
    batch = _old_batch(episode)
    model(batch, _state(model, 1), torch.tensor([6]))
    old = model.auxiliary_probabilities(batch[SampleBatch.ACTIONS])

    columns = windows_of(episode, 0, 6, SequenceConfig(**SMALL))
    new_batch = {key: torch.as_tensor(value.copy()) for key, value in columns.items()}
    new = module.auxiliary_probabilities(new_batch, batch[SampleBatch.ACTIONS])
    assert old.keys() == new.keys() == HEADS.keys()
    training = module.forward_train({**new_batch, Columns.ACTIONS: batch[SampleBatch.ACTIONS]})
    for name, logits in training[AUXILIARY_LOGITS].items():
        assert torch.allclose(old[name], new[name], atol=1e-6)
        assert torch.equal(event_probability(logits), new[name])
    assert {key.split(".")[0] for key in module.get_state(inference_only=True)} == {"policy"}


@pytest.mark.parametrize("heads", [{}, HEADS])
def test_without_heads_nothing_changes(heads: dict) -> None:
    """With them, all that is new are their own weights, and an episode's actions stay the same."""
    torch.manual_seed(0)
    plain = LSTMTransformerModel(OBS, ACTIONS, 4, {}, "model", **SMALL).eval()
    model, batch = _model(auxiliary=heads).eval(), _old_batch(_episode())
    assert {n for n in model.state_dict() if not n.startswith("auxiliary.")} == set(
        plain.state_dict()
    )
    assert bool(heads) == any(n.startswith("auxiliary.") for n in model.state_dict())
    outputs = [each(batch, _state(each, 1), torch.tensor([6])) for each in (plain, model)]
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert torch.equal(plain.value_function(), model.value_function())
    loss = [torch.zeros(())]
    assert plain.custom_loss(loss, {}) is loss and plain.metrics() == {}
    config = use_sequence_module(PPOConfig(), **SMALL, auxiliary=heads)
    learner = PPOAuxiliaryLearner if heads else PPOTorchLearner
    assert config.learner_class is learner
    assert len(config._learner_connector(OBS, ACTIONS)) == 1 + bool(heads)


def test_gradients_reach_the_encoder_and_the_weight_scales_them() -> None:
    """The policy's encoder, not the policy's head and not the value network."""
    gradients = []
    for weight in (0.1, 0.3):
        heads = {name: {**head, "weight": weight} for name, head in HEADS.items()}
        model, batch = _model(auxiliary=heads), _old_batch(_episode())
        model(batch, _state(model, 1), torch.tensor([6]))
        (loss,) = model.custom_loss([torch.zeros(())], batch)
        loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        losses = model.metrics()
        assert losses.keys() == {"auxiliary_won_loss", "auxiliary_bought_loss"}
        assert loss.item() == pytest.approx(weight * sum(losses.values()))
    once, thrice = gradients
    assert {name.rsplit(".", 2)[0].split(".")[0] for name in once} == {"policy", "auxiliary"}
    assert not any(name.startswith("policy.head") for name in once)
    assert "policy.encoder.stem.project.weight" in once
    for name, gradient in once.items():
        assert torch.allclose(3 * gradient, thrice[name], atol=1e-5), name
    assert once["policy.encoder.stem.project.weight"].abs().sum() > 1e-3


def test_padding_changes_nothing_and_the_other_losses_stay() -> None:
    model, batch = _model().eval(), _old_batch(_episode())
    policy_loss = [torch.tensor(2.0), torch.tensor(5.0)]
    model(batch, _state(model, 1), torch.tensor([6]))
    whole = model.custom_loss(policy_loss, batch)
    assert whole[1] is policy_loss[1] and whole[0] > 2.0
    padded = {key: torch.cat([rows, 1e6 + rows[:2]]) for key, rows in batch.items()}
    for key in (SampleBatch.ACTIONS, SampleBatch.PREV_ACTIONS):
        padded[key] = torch.cat([batch[key], batch[key][:2]])
    model(padded, _state(model, 1), torch.tensor([6]))
    assert model.custom_loss(policy_loss, padded)[0].item() == pytest.approx(whole[0].item())


def test_missing_labels_are_named() -> None:
    model, batch = _model(), _old_batch(_episode())
    model(batch, _state(model, 1), torch.tensor([6]))
    del batch[label_column("bought")]
    with pytest.raises(UserError, match=r"no labels .* \.callbacks\(AuxiliaryLabels\)"):
        model.custom_loss([torch.zeros(())], batch)


def test_losses_are_per_step() -> None:
    heads = SequenceConfig(auxiliary=HEADS).auxiliary
    generator = torch.Generator().manual_seed(0)
    logits = {"won": torch.randn(5, 1, generator=generator), "bought": torch.randn(5, 5)}
    labels = {"won": torch.rand(5, 1, 3, generator=generator), "bought": torch.rand(5, 3, 3)}
    total, losses = auxiliary_losses(heads, logits, labels, torch.tensor(4))
    won, bought = (event_loss(logits[name], labels[name]) / 4 for name in ("won", "bought"))
    assert losses["auxiliary_won_loss"] == won and losses["auxiliary_bought_loss"] == bought
    assert total.item() == pytest.approx((0.1 * won + 0.5 * bought).item())


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("extra", [True, False])
def test_episodes_are_labelled_up_to_the_step_that_is_none(terminated: bool, extra: bool) -> None:
    heads = SequenceConfig(auxiliary=HEADS).auxiliary
    episode, shared_data, batch = _episode(terminated=terminated), {}, {}
    wanted = labels_from_infos(episode.get_infos(), terminated, heads)
    if extra:
        AddOneTsToEpisodesAndTruncate()(
            rl_module=None, batch=batch, episodes=[episode], shared_data=shared_data
        )
    EpisodeLabels(heads=heads)(batch=batch, episodes=[episode], shared_data=shared_data)
    for name in HEADS:
        (rows,) = batch[label_column(name)].values()
        rows = np.concatenate(rows)
        assert np.array_equal(rows[:6], wanted[name])
        assert len(rows) == 6 + extra and not rows[6:].any()


class _Episode:
    """The part of RLlib's old episode that the callbacks read."""

    def last_info_for(self, agent_id: str) -> dict[str, Any]:
        return {"user_1": {"won": True, "bought": False}}[agent_id]


def test_trajectories_are_labelled_with_the_info_that_comes_last() -> None:
    class Policy:
        model = _model()

    batch = SampleBatch(
        obs=np.zeros((2, 3)),
        infos=np.array([{}, {"won": False, "bought": True}]),
        terminateds=np.array([False, True]),
    )
    AuxiliaryLabels().on_postprocess_trajectory(
        worker=None,
        episode=_Episode(),
        agent_id="user_1",
        policy_id="bidder",
        policies={"bidder": Policy()},
        postprocessed_batch=batch,
        original_batches={},
    )
    assert batch[label_column("won")][:, 0].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert batch[label_column("bought")][:, 0].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_callbacks_are_added_or_must_inherit() -> None:
    config = PPOConfig()
    label_trajectories(config)
    assert config.callbacks_class is AuxiliaryLabels

    class Mine(AuxiliaryLabels): ...

    config = PPOConfig().callbacks(Mine)
    label_trajectories(config)
    assert config.callbacks_class is Mine

    class Other(RLlibCallback): ...

    with pytest.raises(UserError, match="Other.*inherit from rllib_seq.models.AuxiliaryLabels"):
        label_trajectories(PPOConfig().callbacks(Other))


class _MyLearner(PPOTorchLearner): ...


class _MyAuxiliaryLearner(AuxiliaryLossMixin, PPOTorchLearner): ...


def test_learners_of_ones_own_must_learn_the_heads() -> None:
    config = PPOConfig().learners(learner_class=_MyAuxiliaryLearner)
    assert use_sequence_module(config, auxiliary=HEADS).learner_class is _MyAuxiliaryLearner
    config = PPOConfig().learners(learner_class=APPOTorchLearner)
    assert use_sequence_module(config, auxiliary=HEADS).learner_class is APPOAuxiliaryLearner
    with pytest.raises(UserError, match="_MyLearner does not learn .*AuxiliaryLossMixin"):
        config = PPOConfig().learners(learner_class=_MyLearner)
        use_sequence_module(config, auxiliary=HEADS)


def test_what_cannot_learn_heads_is_refused() -> None:
    with pytest.raises(UserError, match="DQN's replay keeps no infos"):
        use_sequence_q_learning(DQNConfig(), auxiliary=HEADS)
    space = Dict({"bid": Discrete(2)})
    with pytest.raises(UserError, match="no given_action=True"):
        LSTMTransformerModel(OBS, space, 4, {}, "m", **SMALL, prev_action=False, auxiliary=HEADS)
    heads = {"bought": AuxiliaryHead(horizon=3)}
    LSTMTransformerModel(OBS, space, 4, {}, "m", **SMALL, prev_action=False, auxiliary=heads)
