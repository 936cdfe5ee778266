"""Logs as auctions; and from a log to the table, as users do it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rllib_seq.envs.ad_auction.log_replay.baselines import LinearBids, play_replay
from rllib_seq.envs.ad_auction.log_replay.replay import LEVELS
from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import discover
from rllib_seq.training.config.auction_logs import read_auctions, replay_world
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.evaluation.comparison import EvaluationProtocol, evaluate_checkpoint
from rllib_seq.training.evaluation.replay_evaluation import TrainedReplayBids
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.run_folder import RunFolder, find_checkpoint
from rllib_seq.training.train import run_training

DATA = Path(__file__).parents[3] / "data"
ROWS = DATA / "ipinyou_discover/rows.txt"
TINY_LOG = str(Path(__file__).parents[1].joinpath("tiny_log.py"))
TINY = str(Path(__file__).parents[1].joinpath("tiny.py"))


def test_ipinyou_rows_are_auctions():
    auctions = read_auctions([ROWS])
    lines = [line.split("\t") for line in ROWS.read_text().splitlines()]
    assert len(auctions) == len(lines)
    assert auctions.clicked.sum() == sum(line[0] == "1" for line in lines) == 5
    assert (np.diff(auctions.time) >= 0).all()
    prices = [max(float(line[23]), float(line[20])) for line in lines]  # price, floor
    assert sorted(auctions.price) == sorted(prices)
    # Two files are one log: what stands in both is there once.
    both = read_auctions([ROWS, ROWS])
    assert len(both) == len(auctions) and (both.price == auctions.price).all()


def test_a_click_belongs_to_the_impression_before_it(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "timestamp,user_id,event,channel,market_price,floor\n"
        "2026-01-01T10:00:00,ann,impression,web,3,1\n"
        "2026-01-01T10:00:05,ann,click,web,,\n"
        "2026-01-01T11:00:00,ann,impression,app,2,5\n"
        "2026-01-01T11:00:00,bob,impression,web,4,\n"
        "2026-01-01T11:00:01,bob,impression,web,,\n"  # no price: cannot be replayed
        "2026-01-01T11:00:02,bob,click,web,,\n"
        "2026-01-01T09:00:00,cid,click,web,,\n"  # of nothing that was logged
        "2026-01-02T11:00:00,cid,impression,web,1,\n"
    )
    auctions = read_auctions([path])
    assert auctions.price.tolist() == [3.0, 5.0, 4.0, 1.0]
    assert auctions.clicked.tolist() == [True, False, False, False]
    assert [auctions.words["channel"][i] for i in auctions.codes["channel"]] == [
        *("web", "app", "web", "web")
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "log"}, "there is none; give --log FILE"),
        ({"log": ("none.csv",)}, "no event file 'none.csv'"),
        ({"log": (str(DATA / "mta/journeys.csv.gz"),)}, "no request has a market_price"),
        ({"log": (str(ROWS),), "episode_requests": 900}, "training days have"),
        ({"log": (str(ROWS),), "budget": 3.0}, "budget can be set for simulated presets only"),
        ({"log": (str(ROWS),), "stream": "users"}, "unknown stream 'users'"),
        ({"log": (str(ROWS),), "reward": "attributed"}, "unknown reward 'attributed'"),
    ],
)
def test_errors_are_one_line(options, words):
    with pytest.raises(UserError, match=words) as caught:
        prepare(load_config("tune_configs.ppo_log"), Options(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "log"}, "give tune_configs.ppo_log"),
        ({"log": (str(ROWS),)}, "log can be set for preset log only"),
        ({"reward": "attributed"}, "needs credits"),
    ],
)
def test_simulated_worlds_refuse_what_they_do_not_have(options, words):
    with pytest.raises(UserError, match=words):
        prepare(load_config("tune_configs.ppo"), Options(**options))


class LevelOne:
    """An actor that always bids linearly."""

    def __init__(self, world):
        from gymnasium.spaces import Discrete

        from rllib_seq.envs.ad_auction.log_replay.replay import observation_space

        self.observation_space, self.action_space = observation_space(world), Discrete(len(LEVELS))

    def start(self, streams):
        self.streams = streams

    def act(self, streams, observations, rewards):
        assert streams.max() < self.streams and len(np.unique(streams)) == len(streams)
        return np.full(len(streams), int(np.flatnonzero(LEVELS == 1.0)[0]))


@pytest.mark.parametrize("stream", ["campaign", "user"])
def test_linear_bidding_is_a_policy(stream):
    world = replay_world({"log": [str(ROWS)], "stream": stream})
    episodes = world.held_out_episodes()
    linear, trained = (
        play_replay(world, world.held_out, episodes, policy)
        for policy in (LinearBids(), TrainedReplayBids(LevelOne(world)))
    )
    assert all((ours == theirs).all() for ours, theirs in zip(trained, linear, strict=True))


def quiet():
    return Console(file=io.StringIO(), width=120)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("stream", ["campaign", "user"])
def test_from_log_to_table(stream, tmp_path):
    console = quiet()
    options = Options("log", log=(str(ROWS),), budget_ratio=1 / 8, stream=stream, seed=1)
    result = run_training(TINY_LOG, options, Limits(steps=256), tmp_path, console)
    run = Path(result.run)
    evaluation = json.loads((run / "evaluation.json").read_text())
    rows = {row["policy"]: row for row in evaluation["policies"]}
    assert set(rows) == {"trained", "linear", "paced", "hindsight", "hindsight_clicks"}
    facts = evaluation["log"]
    assert not set(facts["train"]["days"]) & set(facts["held_out"]["days"])
    for row in rows.values():
        assert row["requests"] == facts["held_out"]["requests"]
        assert 0 <= row["spend"] <= row["budget"]
        assert row["win_rate"] == row["wins"] / row["requests"]
    printed = console.file.getvalue()
    assert "who gets them is chance" in printed and "hindsight" in printed
    assert "hindsight" in (run / "report.html").read_text()
    again = evaluate_checkpoint(find_checkpoint(run), None, EvaluationProtocol(), quiet())
    assert again.to_json() == evaluation
    with pytest.raises(UserError, match="leave --preset out"):
        evaluate_checkpoint(find_checkpoint(run), "journey", EvaluationProtocol(), quiet())


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("source", "reward"),
    [("mta/journeys.csv.gz", "attributed"), ("ipinyou_discover/rows.txt", None)],
)
def test_from_patterns_to_table(source, reward, tmp_path):
    from rllib_seq.training.config.from_patterns import with_patterns

    path = tmp_path / "patterns.json"
    patterns = discover(load_events(DATA / source))
    patterns.write(path)
    options, reported = with_patterns(Options(num_env_runners=0, seed=1, reward=reward), path)
    assert "channels" in reported
    small = EvaluationProtocol(episodes=1, num_seeds=1, num_users=64)
    result = run_training(TINY, options, Limits(steps=200), tmp_path, quiet(), small)
    run = RunFolder.open(Path(result.run))
    channels = run.config["env_config"]["observed"]["channels"]
    assert channels == {name: float(n) for name, n in patterns.mix["channel"].items()}
    again = evaluate_checkpoint(find_checkpoint(run.path), None, small, quiet())
    assert again.policies == result.evaluation.policies


GAINS = """timestamp,user_id,event,market_price,value
2026-03-01T10:00:00,a,impression,2,
2026-03-01T10:00:30,a,click,,
2026-03-01T10:00:40,a,click,,
2026-03-02T10:00:00,a,impression,3,
2026-03-03T10:00:00,a,conversion,,7
2026-03-04T10:00:00,a,conversion,,
2026-03-01T11:00:00,b,impression,1,
2026-04-20T11:00:00,b,conversion,,5
"""


@pytest.mark.parametrize(
    ("gain", "gains"), [("click", [1, 0, 0]), ("conversion", [0, 0, 2]), ("value", [0, 0, 8])]
)
def test_gains_belong_to_the_last_impression_of_thirty_days(tmp_path, gain, gains):
    path = tmp_path / "e.csv"
    path.write_text(GAINS)
    log = read_auctions([path], gain=gain)
    assert log.price.tolist() == [2, 1, 3]
    assert log.gains.tolist() == gains
    assert log.clicked.tolist() == [number > 0 for number in gains]
    if gain != "click":
        assert log.gain_time[2] - log.time[2] == 86_400 * 10**6


def test_a_gain_that_the_log_does_not_have_is_one_line(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("\n".join(GAINS.splitlines()[:5]) + "\n")
    with pytest.raises(UserError, match="gain is 'value', and the log has no conversion"):
        read_auctions([path], gain="value")
    with pytest.raises(UserError, match="unknown gain 'profit'"):
        replay_world({"log": str(path), "gain": "profit"})


def write_log(path, *rows):
    path.write_text("timestamp,user_id,event,price,market_price,floor\n" + "\n".join(rows) + "\n")
    return path


def test_lost_auctions_and_requests_with_a_price_are_used(tmp_path):
    path = write_log(
        tmp_path / "e.csv",
        "2026-01-01T10:00:00,a,request,1,2.0,",  # lost, its price is known
        "2026-01-01T10:00:01,a,request,1,0.5,0.7",
        "2026-01-01T10:00:01,a,impression,,,",  # won: the price stands at the request
        "2026-01-01T10:00:09,a,click,,,",
        "2026-01-01T11:00:00,b,request,3,,",  # lost: above 3
        "2026-01-01T12:00:00,b,request,,,",  # nothing is known
        "2026-01-01T15:00:00,b,impression,4,1.5,",  # too late to be its own
        "2026-01-02T15:00:00,c,request,4,,",
        "2026-01-02T15:00:00,c,impression,4,,",  # won: at most 4
    )
    auctions = read_auctions([path])
    np.testing.assert_array_equal(auctions.price, [2.0, np.float32(0.7), np.nan, 1.5, np.nan])
    assert auctions.won.tolist() == [False, True, False, True, True]
    assert auctions.clicked.tolist() == [False, True, False, False, False]
    assert auctions.bid.tolist() == [1.0, 1.0, 3.0, 4.0, 4.0]


def test_several_requests_of_a_user_may_be_open(tmp_path):
    path = write_log(
        tmp_path / "e.csv",
        "2026-01-01T10:00:00,a,request,1,5,",
        "2026-01-01T10:00:00,a,request,2,,",
        "2026-01-01T10:00:01,a,impression,,0.2,",
        "2026-01-01T10:00:02,a,request,3,,",
        "2026-01-01T10:00:03,a,impression,,0.3,",
    )
    auctions = read_auctions([path])
    bought = dict(zip(auctions.bid.tolist(), auctions.price.round(3).tolist(), strict=True))
    assert bought == {1.0: 5.0, 2.0: 0.2, 3.0: 0.3}
    assert auctions.won.tolist() == [False, True, True]


def test_censored_prices_come_from_wins_and_losses(tmp_path):
    rng = np.random.default_rng(0)
    rows, true = [], []
    for i in range(3000):
        price, bid = rng.lognormal(0.0, 0.6), rng.lognormal(0.0, 0.4)
        when = np.datetime64("2026-01-01T00:00:00") + i * 100
        paid = round(price, 6) if bid >= price and i % 2 else ""
        rows.append(f"{when},u{i},request,{bid:.6f},{paid},")
        if bid >= price:
            rows.append(f"{when},u{i},impression,,,")
        true.append(price)
    world = replay_world({"log": [str(write_log(tmp_path / "e.csv", *rows))]})
    filled = np.concatenate([world.train.price, world.held_out.price])
    assert 0.6 < world.modelled_prices < 0.9
    assert np.isfinite(filled).all()
    won, bid = (
        np.concatenate([getattr(p, n) for p in (world.train, world.held_out)])
        for n in ("won", "bid")
    )
    assert (filled[won] <= bid[won] * (1 + 1e-6)).all() and (filled[~won] > bid[~won]).all()
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(filled, share) == pytest.approx(np.quantile(true, share), rel=0.15)


def test_whole_local_days_are_held_out(tmp_path):
    rows = [
        f"2024-05-0{day}T{hour:02d}:00:00-07:00,u{day}{hour},impression,1,0.5,0"
        for day in range(1, 5)
        for hour in range(24)
    ]
    path = str(write_log(tmp_path / "e.csv", *rows))
    zone = "America/Los_Angeles"
    local = replay_world({"log": [path], "reading": {"timezone": zone}})
    assert len(local.held_out) == 24 and sorted(local.held_out.hour) == list(range(24))
    assert len(local.train.days) == 3
    # By UTC the log ends within a day: that rest is held out with the last whole day.
    utc = replay_world({"log": [path]})
    assert len(utc.held_out) == 24 + 7 and len(utc.held_out.days) == 2


def test_two_files_are_one_log_in_any_order(tmp_path):
    shown = [f"2026-01-0{1 + i % 4}T10:00:00,u{i},impression,,0.5," for i in range(20)]
    clicks = [row.replace("impression,,0.5", "click,,") for row in shown]  # at the same time
    imp, clk = write_log(tmp_path / "imp.csv", *shown), write_log(tmp_path / "clk.csv", *clicks)
    both = write_log(tmp_path / "both.csv", *shown, *clicks)
    for paths in ([imp, clk], [clk, imp], [both]):
        auctions = read_auctions(paths)
        assert (len(auctions), auctions.clicked.sum()) == (20, 20)


def test_the_simulators_own_log_is_replayed(tmp_path):
    from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator

    simulator = AuctionSimulator(AuctionConfig("journey", num_users=200), record=True)
    simulator.reset(5)
    rng = np.random.default_rng(0)
    while not simulator.done:
        simulator.step(rng.choice(simulator.preset.bid_levels, len(simulator.pending)))
    path = tmp_path / "events.csv"
    simulator.events.write(path)
    auctions = read_auctions([path])
    ledger = simulator.ledger
    assert abs(len(auctions) - ledger.requests) < 3  # requests of one instant count once
    assert abs(auctions.won.sum() - ledger.wins) < 3
    assert abs(auctions.clicked.sum() - ledger.clicks) < 3
    spent = auctions.price[auctions.won].sum()
    assert spent == pytest.approx(ledger.spend, rel=0.01)
    world = replay_world({"log": [str(path)], "stream": "user"})
    assert len(np.unique(world.train.user)) < len(world.train)
