import pytest
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_seq.training.config.checks import training_signal


@pytest.mark.parametrize(
    ("reward", "signal"),
    [
        ("sampled", "outcomes"),
        ("attributed", "outcomes"),
        ("expected", "privileged"),
        ("regret", "privileged"),
    ],
)
def test_the_signal_is_that_of_the_reward(reward, signal):
    world = {"reward": reward}
    if reward == "attributed":
        world["credits"] = (0.1, 0.1, 0.1)
    config = PPOConfig().environment("multi_user_ad_auction", env_config=world)
    assert training_signal(config) == signal
    # A server's records hold what happened, whatever the config would have been paid in play.
    config.offline_data(input_config={"trajectories": ["x"]})
    assert training_signal(config) == "outcomes"


def test_elsewhere_there_is_nothing_hidden():
    assert training_signal(PPOConfig().environment("CartPole-v1")) == "outcomes"
    log = {"log": ["x"], "reward": "regret"}
    assert training_signal(PPOConfig().environment("auction_log", env_config=log)) == "outcomes"
