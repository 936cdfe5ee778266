"""The policy that comes with the package, and exports that are judged as a server runs them."""

import json
import shutil
import signal

import numpy as np
import onnx
import pytest
from rich.console import Console
from served_campaign import CAMPAIGN
from serving_helpers import Client, bid_on, process, wait_for

from rllib_seq.envs.ad_auction import AuctionSimulator, play
from rllib_seq.errors import UserError
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.exported.spec import SHIPPED, file_sha256
from rllib_seq.training.acting.actor import PolicyActor
from rllib_seq.training.acting.loading import acting_policy
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.evaluation.exports import ExportedActor, evaluate_export
from rllib_seq.training.evaluation.policies import TrainedBids


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


@pytest.mark.parametrize("factor", [1.0, 60.0])
@pytest.mark.parametrize(("error", "served"), [(0.5, True), (-0.9, True), (3.0, False)])
def test_the_tolerance_of_the_self_test_goes_with_the_scale_of_the_outputs(
    factor, error, served, tmp_path
):
    """Rounding does: outputs of 41 may be wrong by 4.1e-4 where outputs of 1 may by 1e-5."""
    folder = tmp_path / "export"
    shutil.copytree(SHIPPED, folder)
    spec = json.loads((folder / "spec.json").read_text())
    model, test = folder / spec["model"]["name"], folder / spec["selftest"]["name"]
    graph = onnx.load(model)
    for node in graph.graph.node:
        node.output[:] = ["before" if name == "outputs" else name for name in node.output]
    constant = onnx.numpy_helper.from_array(np.float32(factor), "factor")
    graph.graph.initializer.append(constant)
    graph.graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], ["outputs"]))
    onnx.save(graph, model)
    with np.load(test) as file:
        arrays = dict(file)
    wanted = arrays["outputs"] * np.float32(factor)
    scale = max(1.0, float(np.abs(wanted).max()))
    assert (scale > 30) == (factor > 1)
    arrays["outputs"] = wanted + np.float32(error * 1e-5 * scale)
    np.savez(test, **arrays)
    spec["model"]["sha256"], spec["selftest"]["sha256"] = file_sha256(model), file_sha256(test)
    (folder / "spec.json").write_text(json.dumps(spec))
    if served:
        load_policy(folder)
    else:
        with pytest.raises(UserError, match="fails its self-test"):
            load_policy(folder)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["journey", "causal"])
def test_an_export_is_judged_as_its_checkpoint_is(which, request):
    exported = request.getfixturevalue(which)
    actors = (
        PolicyActor(acting_policy(exported.module)),
        ExportedActor(load_policy(exported.folder)),
    )
    one, other = (
        play(AuctionSimulator(exported.world), TrainedBids(actor), CAMPAIGN) for actor in actors
    )
    assert one == other
    assert one.wins > 0


def test_evaluation_of_an_export(tmp_path):
    protocol = EvaluationProtocol(num_users=32, episodes=1, num_seeds=1)
    result = evaluate_export(SHIPPED, None, protocol, Console(quiet=True), None)
    assert result.preset == "journey"
    assert "trained" in {row.policy for row in result.policies}
