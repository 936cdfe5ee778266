"""A T-maze is trained, exported and served; the server acts as `load_policy` does."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from serving_helpers import Client, free_port, process, running

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.http.faces import open_any
from rllib_seq.serving.settings import Settings
from rllib_seq.training.export import export_checkpoint

sys.path.insert(0, str(Path(__file__).parents[4]))
import examples.t_maze  # noqa: F401, registers TMaze-v0
from examples.policy_client import PolicyClient

SMALL = {"encoder": "lstm", "d_model": 8, "lstm_layers": 1, "head_hidden": 8}


@pytest.fixture(scope="module")
def maze(ray_session, tmp_path_factory):
    """The trained policy, and the folder of its export."""
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    config = PPOConfig().environment("TMaze-v0", env_config={"corridor": 5})
    config.env_runners(num_env_runners=0).debugging(seed=0)
    config.training(train_batch_size=64, minibatch_size=64, num_epochs=1)
    algorithm = use_sequence_module(config, **SMALL).build_algo()
    try:
        algorithm.train()
        with torch.no_grad():  # so that actions differ from step to step
            module = algorithm.learner_group._learner.module["default_policy"]
            for name, weights in module.named_parameters():
                weights.mul_(0.0 if "bias" in name else 2.5)
        algorithm.save_to_path(str(checkpoint))
    finally:
        algorithm.stop()
    folder = tmp_path_factory.mktemp("export")
    export_checkpoint(checkpoint, folder)
    return rllib_seq.load_policy(checkpoint), folder


class Walk:
    """Steps of a session, and what the policy says of them."""

    def __init__(self, policy, seed):
        self._policy, self._state = policy, None
        self._random = np.random.default_rng(seed)
        self.reward, self.acted = 0.0, []

    def observation(self):
        return {
            "sign": int(self._random.integers(3)),
            "junction": [float(self._random.integers(2))],
        }

    def expected(self, observation):
        seen = {"sign": observation["sign"], "junction": np.array(observation["junction"])}
        action, self._state = self._policy.predict(seen, self._state, reward=self.reward)
        self.acted.append(int(action))
        return int(action)

    def go(self, client, steps):
        for _ in range(steps):
            seen = self.observation()
            assert client.act(seen, self.reward) == self.expected(seen)
            self.reward = float(self._random.normal())


@pytest.mark.slow
def test_one_process_remembers_after_kill_9(maze, tmp_path):
    policy, folder = maze
    state = tmp_path / "sessions.sqlite"
    walks = {f"walk {i}": Walk(policy, i) for i in range(3)}
    for steps in (7, 5):  # a server, killed, and the next one with its state
        with process(folder, "--state", state) as (child, port):
            for name, walk in walks.items():
                walk.go(PolicyClient(f"http://127.0.0.1:{port}", name), steps)
            child.kill()
    assert len({action for walk in walks.values() for action in walk.acted}) > 1


@pytest.mark.redis
def test_a_session_moves_between_servers_on_one_redis(maze, redis_url):
    policy, folder = maze
    # Fewer sessions fit into the memory of a server than there are.
    settings = Settings(export=str(folder), state=f"{redis_url}/0", max_users=2, max_batch=8)
    with running(settings) as (one, _), running(settings) as (two, _):
        walks = {f"walk {i}": Walk(policy, i) for i in range(3)}
        for turn in range(6):
            for number, (name, walk) in enumerate(walks.items()):
                port = two if (turn + number) % 2 else one
                walk.go(PolicyClient(f"http://127.0.0.1:{port}", name), 1)
        here, there = Client(one), Client(two)
        last = {"session": "walk 0", "observation": SEEN, "reward": 0.0}
        assert [client("POST", "/act", last)[1]["steps"] for client in (here, there)] == [7, 8]
        # What one server forgets or begins again, the other does not remember.
        assert here("DELETE", "/sessions?session=walk+0")[0] == 204
        assert there("POST", "/act", last)[1]["steps"] == 1
        assert here("POST", "/act", {**last, "reset": True})[1]["steps"] == 1
        assert there("POST", "/act", last)[1]["steps"] == 2


@pytest.mark.slow
def test_ray_serve_acts_alike(maze):
    from ray import serve
    from ray.serve.config import HTTPOptions

    from rllib_seq.serving import PolicyDeployment, bid_deployment

    policy, folder = maze
    port = free_port()
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
    try:
        settings = Settings(export=str(folder), state=":memory:", max_users=64)
        serve.run(bid_deployment(settings, 1, 1), name="steps", route_prefix="/")
        Walk(policy, 7).go(PolicyClient(f"http://127.0.0.1:{port}", "a"), 6)
        mine = PolicyDeployment.options(name="mine").bind(str(folder), max_users=64)
        handle = serve.run(mine, name="mine", route_prefix="/mine")
        walk = Walk(policy, 8)
        for steps in range(1, 4):
            seen = walk.observation()
            step = {"session": "b", "observation": seen, "reward": walk.reward}
            answer = handle.act.remote(step).result()
            assert answer == {"action": walk.expected(seen), "steps": steps}
    finally:
        serve.shutdown()


def test_what_is_for_bids_is_refused(maze):
    settings = Settings(export=str(maze[1]), state=":memory:", budget=1.0)
    with pytest.raises(UserError, match="--budget is for bids.* POST /act; leave it out"):
        open_any(settings)
    with pytest.raises(UserError, match="is an export for POST /act, and not a bidder"):
        load_policy(maze[1])


@pytest.fixture
def client(maze):
    settings = Settings(export=str(maze[1]), state=":memory:", max_users=4, max_batch=8)
    with running(settings) as (port, service):
        client = Client(port)
        client.service = service
        yield client
        client.close()


SEEN = {"sign": 1, "junction": [0.0]}


def test_lists_are_answered_in_order_and_sessions_are_told_apart(maze, client):
    walks = [Walk(maze[0], 3), Walk(maze[0], 4)]
    steps, wanted = [], []
    for number in (0, 1, 0, 0, 1):
        walk = walks[number]
        seen = walk.observation()
        step = {"session": f"s{number}", "observation": seen, "reward": walk.reward}
        steps.append(step)
        wanted.append({"action": walk.expected(seen), "steps": len(walk.acted)})
    assert client("POST", "/act", steps) == (200, wanted)
    # A session that begins again, one that is forgotten, and none at all are new streams.
    again = {"session": "s0", "observation": SEEN, "reset": True}
    (_, first) = client("POST", "/act", again)
    assert first["steps"] == 1
    assert client("DELETE", "/sessions?session=s0")[0] == 204
    for step in ({"session": "s0", "observation": SEEN}, {"observation": SEEN}):
        assert client("POST", "/act", step) == (200, first)


def test_memory_is_bounded_and_nothing_is_lost(maze, client):
    walks = {f"many {i}": Walk(maze[0], i) for i in range(9)}  # more than fit into memory
    for _ in range(2):
        for name, walk in walks.items():
            walk.go(PolicyClient(f"http://127.0.0.1:{client.port}", name), 1)
    assert len(client.service.sessions) <= 4
    metrics = client("GET", "/metrics")[1].decode()
    assert 'rllib_seq_answers_total{why="answered"} 18.0' in metrics


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "body: is not JSON"),
        ("[]", "body: is a list of 0 steps"),
        ("7", "body: must be an object"),
        ({"session": "a"}, "observation: is missing"),
        ({"observation": {"sign": 1}}, "observation: must be an object with"),
        ({"observation": {**SEEN, "sign": 3}}, "observation.sign: 3 is not in Discrete"),
        ({"observation": {**SEEN, "sign": 0.5}}, "observation.sign: 0.5 is not in"),
        ({"observation": {**SEEN, "sign": "1"}}, "observation.sign: must be numbers"),
        ({"observation": {**SEEN, "junction": [0, 1]}}, r"observation.junction: has shape \[2\]"),
        ('{"observation": {"sign": 1, "junction": [NaN]}}', "observation.junction: holds a number"),
        ({"observation": {**SEEN, "junction": [1e39]}}, "observation.junction: .* that float32"),
        ({"observation": {**SEEN, "junction": [10**400]}}, "observation.junction: must be numbers"),
        ({"observation": SEEN, "reward": "1"}, "reward: must be a finite number"),
        ({"observation": SEEN, "reward": 10**400}, "reward: must be a finite number"),
        ({"observation": SEEN, "reward": 1e39}, "reward: must be a finite number"),
        ({"observation": SEEN, "session": ""}, "session: must be a text"),
        ({"observation": SEEN, "reset": 1}, "reset: must be true or false"),
        ({"observation": SEEN, "done": True}, "done: is unknown"),
        ([{"observation": SEEN}, {"reward": 1.0}], r"\[1\].observation: is missing"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_field(client, body, words):
    status, answer = client("POST", "/act", body)
    assert status == 400
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(answer["detail"])
    assert "\n" not in answer["detail"]


def test_a_reward_that_is_read_is_asked_for(client):
    step = {"session": "r", "observation": SEEN}
    assert client("POST", "/act", step)[0] == 200
    status, answer = client("POST", "/act", step)
    assert status == 400 and answer["detail"].startswith("reward: is missing")
    assert client("POST", "/act", {**step, "reward": 1.0})[1]["steps"] == 2


def test_a_step_whose_numbers_are_not_finite_leaves_the_session_as_it_was(client):
    step = {"session": "huge", "observation": SEEN, "reward": 0.0}
    assert client("POST", "/act", step)[1]["steps"] == 1
    huge = {**step, "observation": {**SEEN, "junction": [3e38]}}
    # Others that come in the same list are answered.
    assert client("POST", "/act", huge)[0] == 400
    assert client("POST", "/act", step)[1]["steps"] == 2
