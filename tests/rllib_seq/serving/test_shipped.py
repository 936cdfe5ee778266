"""The policy that comes with the package, and exports that are judged as a server runs them."""

import json
import signal

import pytest
from rich.console import Console
from serving_helpers import Client, process, wait_for
from test_app import bid_on
from test_parity import CAMPAIGN

from rllib_seq.envs.ad_auction import AuctionSimulator, play
from rllib_seq.serving.policy import load_policy
from rllib_seq.serving.spec import SHIPPED
from rllib_seq.training.evaluation.comparison import Protocol
from rllib_seq.training.evaluation.exports import ExportedActor, evaluate_export
from rllib_seq.training.evaluation.policies import NewStackActor, TrainedBids


def test_it_is_small_and_says_what_it_is_worth():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 1_000_000
    policy = load_policy(SHIPPED)
    assert policy.spec.world["preset"] == "journey"
    figures = json.loads((SHIPPED / "figures.json").read_text())
    assert figures["model"] == policy.spec.model.sha256
    assert figures["signal"] == policy.spec.source["signal"]
    (trained,) = [each for each in figures["summary"] if each["policy"] == "trained"]
    assert trained["profit_per_user"]["mean"] > 0


def test_serve_without_arguments_serves_it(tmp_path):
    with process("--state", tmp_path / "s.sqlite") as (child, port):
        client = Client(port)
        model = load_policy(SHIPPED).spec.model.sha256
        assert client("GET", "/healthz")[1]["model"] == model[:12]
        bid_on(client, "a")
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: child.poll() is not None)


@pytest.mark.parametrize("which", ["journey", "causal"])
def test_an_export_is_judged_as_its_checkpoint_is(which, request):
    exported = request.getfixturevalue(which)
    actors = NewStackActor(exported.module), ExportedActor(load_policy(exported.folder))
    one, other = (
        play(AuctionSimulator(exported.world), TrainedBids(actor), CAMPAIGN) for actor in actors
    )
    assert one == other
    assert one.wins > 0


def test_evaluation_of_an_export(tmp_path):
    protocol = Protocol(num_users=32, episodes=1, num_seeds=1)
    result = evaluate_export(SHIPPED, None, protocol, Console(quiet=True), None)
    assert result["preset"] == "journey"
    assert "trained" in {row["policy"] for row in result["policies"]}
