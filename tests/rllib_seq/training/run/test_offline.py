"""What was served is what is learned from: records, streams, DQN."""

from pathlib import Path

import numpy as np
import pytest
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from rich.console import Console

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.errors import UserError
from rllib_seq.serving.exported.spec import world_facts
from rllib_seq.serving.trajectories import TrajectoryWriter
from rllib_seq.training.config.experiment import Options
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.run.offline import learn_offline
from rllib_seq.training.run.records import read_trajectories
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.train import run_training

CONFIG = """
from ray.rllib.algorithms.dqn import DQNConfig
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning

config = (
    DQNConfig()
    .environment("multi_user_ad_auction", env_config={"num_users": 8})
    .multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    .training(
        train_batch_size=32,
        num_steps_sampled_before_learning_starts=50,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 5000},
    )
    .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
    .debugging(seed=0)
)
use_sequence_q_learning(
    config, EpsilonLadder(), window_length=4, d_model=8, num_heads=2, feedforward_dim=8,
    head_hidden=8, lstm_layers=1, transformer_layers=1, dropout=0.0,
)
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A campaign with random bids, written as a server writes it; and what happened."""
    folder = tmp_path_factory.mktemp("records")
    writer = TrajectoryWriter(str(folder), world_facts(AuctionConfig()))
    simulator = AuctionSimulator(AuctionConfig(num_users=30))
    simulator.reset(3)
    random = np.random.default_rng(0)
    happened = {}
    last = np.full(30, -1)

    def notices(user, reward):
        """A win and a conversion come one by one."""
        conversion = 1.0 if reward > 0 else 0.0
        for part in (reward - conversion, conversion):
            if part:
                writer.reward(user, int(last[user]), simulator.hour, part)

    while not simulator.done:
        users = simulator.pending
        for user, reward in enumerate(simulator.take_rewards(np.arange(30))):
            if reward:
                notices(user, float(reward))
                happened[user][-1][2] += reward
        observation = simulator.observe(users)
        actions = random.integers(17, size=len(users))
        last[users] += 1
        writer.steps(users, last[users], simulator.hour, observation, actions)
        for user, row, action in zip(users, observation, actions, strict=True):
            happened.setdefault(int(user), []).append([row, int(action), 0.0])
        simulator.step(simulator.preset.bid_levels[actions])
    for user, reward in enumerate(simulator.take_rewards(np.arange(30))):
        if reward:
            notices(user, float(reward))
            happened[user][-1][2] += reward
    # A day later someone else comes: anyone who was there before has ended.
    for hour in (48.0, 49.0):
        writer.steps(
            np.array([99]), np.array([hour - 48.0], np.int64), simulator.hour + hour,
            observation[:1], np.zeros(1, np.int64),
        )  # fmt: skip
    writer.close()
    assert len(list(folder.glob("*.parquet"))) == 1
    return folder, happened


def test_streams_are_what_happened(records):
    folder, happened = records
    streams = read_trajectories([folder])
    assert len(streams) == len(happened) + 1
    assert [stream.ended for stream in streams] == [True] * len(happened) + [False]
    for user, stream in zip(sorted(happened), streams, strict=False):
        steps = happened[user]
        np.testing.assert_array_equal(stream.observations[:-1], [row for row, _, _ in steps])
        assert stream.actions.tolist() == [action for _, action, _ in steps]
        np.testing.assert_allclose(stream.rewards, [reward for _, _, reward in steps])
    assert sum(stream.rewards.sum() for stream in streams) != 0


def test_a_gap_parts_a_stream(tmp_path):
    writer = TrajectoryWriter(str(tmp_path), {})
    for step in (0, 1, 2, 5, 6):  # 3 and 4 were lost in a crash
        writer.steps(np.array([7]), np.array([step]), 1.0, np.full((1, 2), step), np.array([step]))
    writer.close()
    streams = read_trajectories([tmp_path])
    assert [stream.actions.tolist() for stream in streams] == [[0, 1], [5]]
    assert [stream.observations[:, 0].tolist() for stream in streams] == [[0, 1, 2], [5, 6]]
    assert not any(stream.ended for stream in streams)


def _write(folder, conversion, **world):
    """Two steps of a user and, two days later, one of another; the first bid won and converted."""
    writer = TrajectoryWriter(str(folder), world_facts(AuctionConfig(**world)))
    for user, step, hour in ((7, 0, 1.0), (7, 1, 2.0), (8, 0, 50.0), (8, 1, 51.0)):
        observation = np.zeros((1, 8), np.float32)
        writer.steps(np.array([user]), np.array([step]), hour, observation, np.array([3]))
    writer.reward(7, 0, 1.5, -0.3)
    writer.reward(7, 1, 3.0, -0.2)
    writer.reward(7, 1, 9.0, conversion)
    writer.close()


def test_payments_do_not_depend_on_what_conversions_are_worth(tmp_path):
    _write(tmp_path, 2.5)
    stream = read_trajectories([tmp_path])[0]
    assert stream.rewards.tolist() == pytest.approx([-0.3, 2.3])
    assert stream.payments.tolist() == pytest.approx([0.3, 0.2])


def test_bid_levels_are_those_that_were_served(tmp_path):
    _write(tmp_path / "a", 1.0)
    config = learn_offline(load_config("tune_configs.lift"), [tmp_path / "a"])
    assert config.env_config["num_bid_levels"] == 16
    _write(tmp_path / "b", 1.0, num_bid_levels=24)
    with pytest.raises(UserError, match="policies with different actions, bid_levels; give those"):
        learn_offline(load_config("tune_configs.lift"), [tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize(
    ("world", "differing"),
    [
        ({"preset": "display", "observation": "raw"}, "units, bid_levels"),
        ({"preset": "drawn", "world_seed": 3}, "units, bid_levels"),  # as wide
        ({"observed": {"channels": {"search": 1, "display": 1, "video": 1}}}, "observation, units"),
    ],
)
def test_records_of_another_world_are_refused(tmp_path, world, differing):
    _write(tmp_path, 1.0, **world)
    with pytest.raises(
        UserError, match=f"other {differing} than .* \\(journey\\); give the preset"
    ):
        learn_offline(load_config("tune_configs.lift"), [tmp_path])


def test_records_are_of_the_auction(records):
    config = load_config("tune_configs.dqn").environment("another", env_config={})
    with pytest.raises(UserError, match="in 'multi_user_ad_auction'; this .* is 'another'"):
        learn_offline(config, [records[0]])


def test_q_learning_from_outcomes_needs_conversions_of_one_value(tmp_path):
    _write(tmp_path, 2.5)
    with pytest.raises(UserError, match="a conversion worth 2.5, .* are worth 1: .* use Lift"):
        learn_offline(load_config("tune_configs.dqn_outcomes"), [tmp_path])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no \\*.parquet"), (b"text", "cannot read trajectories"), ("gone", "no records in")],
)
def test_bad_records(content, words, tmp_path):
    path = tmp_path
    if content == "gone":
        path = tmp_path / content
    elif content is not None:
        (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_trajectories([path])


def test_algorithms_that_learn_from_themselves_are_refused(records):
    with pytest.raises(UserError, match="PPO does not .*give lift or dqn"):
        learn_offline(load_config("tune_configs.ppo"), [records[0]])


@pytest.mark.usefixtures("ray_session")
def test_dqn_learns_from_them_and_is_evaluated(records, tmp_path, monkeypatch):
    folder, happened = records
    (tmp_path / "config.py").write_text(CONFIG)
    seen = []
    from rllib_seq.q_learning.replay import SequenceEpisodeReplayBuffer

    add = SequenceEpisodeReplayBuffer.add

    def added(self, episodes, weight=None):
        seen.extend(episodes)
        return add(self, episodes, weight)

    monkeypatch.setattr(SequenceEpisodeReplayBuffer, "add", added)
    result = run_training(
        str(tmp_path / "config.py"),
        Options(seed=0),
        Limits(steps=sum(map(len, happened.values())) + 1),  # each once, at least
        tmp_path / "runs",
        Console(quiet=True),
        EvaluationProtocol(num_seeds=1, episodes=1, num_users=32),
        offline=[folder],
    )
    recorded = {tuple(action for _, action, _ in steps) for steps in happened.values()}
    recorded.add((0,))  # of the one who came a day later
    assert all(isinstance(episode, MultiAgentEpisode) for episode in seen)
    learned = {
        tuple(int(a) for a in part.get_actions())
        for episode in seen
        for part in episode.agent_episodes.values()
    }
    assert learned == recorded  # nothing else, and all of it
    assert {row.policy for row in result.evaluation.policies} > {"trained"}
    progress = (Path(result.run) / "progress.csv").read_text()
    assert "policy_loss" in progress


LIFT = """
from rllib_seq.lift import LiftConfig

config = (
    LiftConfig()
    .environment("multi_user_ad_auction", env_config={"num_users": 8})
    .training(
        minibatch_journeys=8,
        model={"custom_model_config": {
            "encoder": "lstm", "d_model": 8, "num_heads": 2, "head_hidden": 8, "lstm_layers": 1,
            "dropout": 0.0, "prev_action": False, "prev_reward": False,
        }},
    )
    .debugging(seed=0)
)
"""


def test_payments_are_what_the_rewards_hold_of_them(records):
    """A journey's payments and conversions are its rewards; a payment is at most its bid."""
    levels = AuctionSimulator(AuctionConfig(num_users=1)).preset.bid_levels
    conversions = 0.0
    for stream in read_trajectories([records[0]]):
        if stream.ended:
            payment = stream.payments
            assert ((payment > 0) == (stream.observations[1:, 5] < 0))[:-1].all()
            assert (payment <= levels[stream.actions] + 1e-6).all()
            converted = (stream.rewards + payment).sum()
            assert converted == pytest.approx(round(converted), abs=1e-5)
            conversions += converted
    assert conversions > 0


OUTCOME_DQN = """
from rllib_seq.lift.dqn import OutcomeDQNConfig, use_outcome_q_learning

config = use_outcome_q_learning(
    OutcomeDQNConfig()
    .environment("multi_user_ad_auction", env_config={"num_users": 8})
    .training(train_batch_size=32, num_steps_sampled_before_learning_starts=8)
    .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
    .debugging(seed=0),
    window_length=2, d_model=8, num_heads=2, head_hidden=8, feedforward_dim=8, dropout=0.0,
    transformer_layers=1, prev_action=False, prev_reward=False,
)
"""


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("config", [LIFT, OUTCOME_DQN], ids=["lift", "dqn"])
def test_learners_from_outcomes_learn_from_them_and_are_evaluated(records, tmp_path, config):
    """Whole journeys, and no one else's."""
    folder, happened = records
    (tmp_path / "config.py").write_text(config)
    steps = sum(map(len, happened.values()))
    result = run_training(
        str(tmp_path / "config.py"),
        Options(seed=0),
        Limits(steps=5 * steps),
        tmp_path / "runs",
        Console(quiet=True),
        EvaluationProtocol(num_seeds=1, episodes=1, num_users=32),
        offline=[folder],
    )
    rows = {row.policy: row for row in result.evaluation.policies}
    assert rows["trained"].signal == "outcomes"
    progress = (Path(result.run) / "progress.csv").read_text().splitlines()
    values = dict(zip(progress[0].split(","), progress[-1].split(","), strict=True))
    assert float(values["value_loss"]) > 0
    assert int(values["steps"]) >= 5 * steps
