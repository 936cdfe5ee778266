"""Evaluation bids exactly as RLlib's workers do on the same campaign, whatever the policy."""

import copy
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator, play
from rllib_seq.errors import UserError
from rllib_seq.models import SequenceRLModule, use_sequence_module
from rllib_seq.training.acting.actor import PolicyActor
from rllib_seq.training.acting.loading import acting_policy, load_policy
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.evaluation.policies import TrainedBids

CAMPAIGN = 123
WORLD = AuctionConfig(num_users=24)
SMALL = {"window_length": 4, "d_model": 8, "num_heads": 2, "feedforward_dim": 8, "head_hidden": 8}


class Recorded(TrainedBids):
    """Remembers each user's observations and bid levels."""

    def start(self, simulator):
        super().start(simulator)
        self.seen = defaultdict(list)

    def bids(self, users):
        observations = self._simulator.observe(users)
        bids = super().bids(users)
        for user, row, bid in zip(users, observations, bids, strict=False):
            stream = 0 if self.one_stream else int(user)
            action = int(np.flatnonzero(self._levels == bid)[0])
            self.seen[stream].append((row.tobytes(), action))
        return bids


def played(actor, one_stream=False):
    """What every stream saw and did in the campaign, under evaluation."""
    bidder = Recorded(actor, one_stream)
    play(AuctionSimulator(WORLD), bidder, seed=CAMPAIGN)
    assert len({action for steps in bidder.seen.values() for _, action in steps}) > 1
    return sorted(bidder.seen.values())


def actor(model):
    return PolicyActor(acting_policy(model))


def spread(module):
    """Makes bids differ from step to step."""
    with torch.no_grad():
        for name, weights in module.named_parameters():
            weights.mul_(0.0 if "bias" in name else 3.0)


@pytest.fixture
def same_campaign(monkeypatch, ray_session):
    for env in ("multi_agent_env", "gym_env"):
        monkeypatch.setattr(f"rllib_seq.envs.ad_auction.{env}.campaign_seed", lambda rng: CAMPAIGN)


@pytest.mark.usefixtures("same_campaign")
@pytest.mark.parametrize(("prev_reward", "encoder"), [(False, "window"), (True, "causal")])
def test_old_stack(prev_reward, encoder):
    config = load_config(str(Path(__file__).parents[1].joinpath("tiny.py")))
    settings = {**config.model["custom_model_config"], "prev_reward": prev_reward}
    settings["encoder"] = encoder
    config.training(model={**config.model, "custom_model_config": settings})
    world = {"num_users": 24, "reward": "sampled", "reward_scale": 1.0}
    config.environment(env_config=world)
    config.env_runners(num_env_runners=0, batch_mode="complete_episodes", explore=False)
    algorithm = prepare(config, Options(seed=0)).build_algo()
    try:
        policy = algorithm.get_policy("bidder")
        policy.model.policy.head.weight.data.mul_(300.0)  # so that bids differ from step to step
        batch = algorithm.env_runner.sample().policy_batches["bidder"]
        sampled = defaultdict(list)
        first_episode = batch[SampleBatch.EPS_ID] == batch[SampleBatch.EPS_ID][0]
        for agent, row, action in zip(
            batch[SampleBatch.AGENT_INDEX][first_episode],
            batch[SampleBatch.OBS][first_episode],
            batch[SampleBatch.ACTIONS][first_episode],
            strict=True,
        ):
            sampled[int(agent)].append((row.tobytes(), int(action)))
        assert sorted(sampled.values()) == played(actor(policy))
    finally:
        algorithm.stop()


def sequence_module(config):
    use_sequence_module(config, **SMALL)


def sequence_module_without_rewards(config):
    use_sequence_module(config, **SMALL, prev_reward=False)


def causal_module(config):
    use_sequence_module(config, **SMALL, encoder="causal")


def mlp(config):
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[16]))


def lstm(config):
    model = DefaultModelConfig(use_lstm=True, lstm_cell_size=8, fcnet_hiddens=[8], max_seq_len=24)
    config.rl_module(model_config=model)


@pytest.mark.usefixtures("same_campaign")
@pytest.mark.parametrize("one_stream", [False, True], ids=["users", "campaign"])
@pytest.mark.parametrize(
    "model", [sequence_module, sequence_module_without_rewards, causal_module, mlp, lstm]
)
def test_new_stack(model, one_stream):
    config = PPOConfig().env_runners(explore=False, batch_mode="complete_episodes")
    if one_stream:
        config.environment("AdAuction-v0", env_config={"num_users": 24})
    else:
        config.environment("multi_user_ad_auction", env_config={"num_users": 24}).multi_agent(
            policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
        )
    model(config)
    torch.manual_seed(0)
    runner = (SingleAgentEnvRunner if one_stream else MultiAgentEnvRunner)(config=config)
    module = runner.module if one_stream else runner.module["bidder"]
    spread(module)
    (episode,) = runner.sample(num_episodes=1)
    sampled = []
    for stream in [episode] if one_stream else episode.agent_episodes.values():
        observations, actions = stream.get_observations()[:-1], stream.get_actions()
        pairs = zip(observations, actions, strict=True)
        sampled.append([(row.tobytes(), int(action)) for row, action in pairs])
    assert sorted(sampled) == played(actor(module), one_stream)


def q_network(observation_dim):
    return DefaultDQNTorchRLModule(
        observation_space=Box(-1, 1, (observation_dim,), np.float32),
        action_space=Discrete(len(WORLD.build_preset().bid_levels)),
        model_config={"fcnet_hiddens": [8], "head_fcnet_hiddens": [8], "epsilon": 1.0}
        | {"double_q": True, "dueling": True, "num_atoms": 1, "std_init": 0.1},
        inference_only=False,
    )


def test_a_module_that_returns_actions_bids_them():
    torch.manual_seed(0)
    module = q_network(8)
    spread(module)
    once = played(actor(module))
    assert once == played(actor(module))  # greedy: nothing is drawn


def test_forks_go_on_alike_and_apart():
    """Also what the heads forecast; a fork's campaign leaves the first one's memory alone."""
    simulator = AuctionSimulator(WORLD)
    torch.manual_seed(0)
    module = SequenceRLModule(
        observation_space=simulator.observation_space,
        action_space=Discrete(len(simulator.preset.bid_levels)),
        model_config={
            "sequence_config": {
                **SMALL,
                "auxiliary": {"won": {"given_action": True}, "converted": {"horizon": 3}},
            }
        },
    )
    spread(module)
    bidder = TrainedBids(actor(module))
    simulator.reset(CAMPAIGN)
    bidder.start(simulator)
    for _ in range(20):
        simulator.step(bidder.bids(simulator.pending))
    forks = []
    for _ in range(2):
        copied = copy.deepcopy(simulator)
        forks.append((bidder.fork(copied), copied))
    said = []
    for each, world in [*forks, (bidder, simulator)]:
        for _ in range(10):
            who = world.pending
            bids = each.bids(who)
            forecasts = each.forecasts()
            world.step(bids)
        said.append((bids, forecasts))
    assert bidder.heads.keys() == forecasts.keys() == {"won", "converted"}
    for bids, forecasts in said[1:]:
        np.testing.assert_array_equal(bids, said[0][0])
        for name, probabilities in forecasts.items():
            np.testing.assert_array_equal(probabilities, said[0][1][name])
            assert probabilities.shape == who.shape
            assert ((probabilities > 0) & (probabilities < 1)).all()
    assert len(np.unique(forecasts["converted"])) > 1


def test_a_policy_without_heads_has_none():
    assert TrainedBids(actor(q_network(8))).heads == {}


def test_other_spaces_are_refused():
    wrong = r"trained on observations \(5,\) .* this preset has \(8,\)"
    with pytest.raises(UserError, match=wrong):
        TrainedBids(actor(q_network(5))).start(AuctionSimulator(WORLD))


class TestOnDisk:
    """Checkpoints of modules."""

    def save(self, tmp_path, *names):
        for name in names:
            folder = tmp_path / "learner_group/learner/rl_module" / name
            q_network(8).save_to_path(str(folder))
        return tmp_path

    def test_a_module_comes_back(self, tmp_path):
        policy = load_policy(self.save(tmp_path, "bidder"))
        assert type(policy.network.model) is DefaultDQNTorchRLModule

    def test_several_are_named(self, tmp_path):
        with pytest.raises(UserError, match="policies a, b; name one"):
            TrainedBids.from_checkpoint(self.save(tmp_path, "a", "b"))

    def test_a_class_that_is_gone_is_named(self, tmp_path):
        """RLlib would go on without networks, with no more than a warning."""
        path = self.save(tmp_path, "bidder")
        file = path / "learner_group/learner/rl_module/bidder/class_and_ctor_args.pkl"
        content = file.read_bytes()
        assert pickle.loads(content)["class"] is DefaultDQNTorchRLModule
        file.write_bytes(content.replace(b"DefaultDQNTorchRLModule", b"DefaultDQNTorchRLModulf"))
        with pytest.raises(UserError, match="cannot read checkpoint .*DefaultDQNTorchRLModulf"):
            TrainedBids.from_checkpoint(path)
