"""Tables of what learners earn and remember.

- `TABLES`: by the names that pages use
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from result_format import Row, cpu, mean, number, read, share, spread, table

from rllib_seq.benchmarks.learning.statistics import median_to_goal


def contender(row: Row) -> str:
    """What a row of `bench learning` is about."""
    about = row.get("about")
    return f"`{row['policy']}`" + (f": {about}" if about else "")


def learning(name: str, preset: str, columns: dict[str, Callable[[Row], object]]) -> str:
    """The rows of a preset of `bench learning`, lowest score first."""
    rows = read(name)["presets"][preset]["rows"]
    # More than 100 % of Bayes is what only the hidden stage allows: no bidder to compare with.
    rows = [row for row in rows if -1.0 < row["score"] <= 100.5]
    rows.sort(key=lambda row: row["score"])
    heads = ["bidder", "training seeds", *columns]
    cells = ([contender(row), row["seeds"], *(of(row) for of in columns.values())] for row in rows)
    return table(heads, cells)


def steps_to_goal(row: Row) -> str | None:
    """Requests until the slowest seed had reached the goal."""
    if row["seeds"] is None:
        return None
    steps = row["steps_to_goal"]
    return "not reached" if steps is None else f"{steps:,}"


def learning_journey() -> str:
    """Learners on preset journey."""
    return learning(
        "learning",
        "journey",
        {
            "% of Bayes": spread,
            "% of full information": lambda row: f"{row['pct_of_full_information']:.1f}",
            "CPA": lambda row: f"{row['cpa']:.3f}",
            "ROAS": lambda row: f"{row['roas']:.2f}",
            "requests to 80 %": steps_to_goal,
            "processor seconds": cpu,
        },
    )


def to_goal(goal: str) -> Callable[[Row], str | None]:
    """Median requests and processor seconds to a goal of `bench peers`, or who reached it."""
    return lambda row: median_to_goal(row["reached"][goal]) if row["seeds"] else None


def peers() -> str:
    """Learners from outcomes on preset journey."""
    return learning(
        "peers",
        "journey",
        {
            "learns from": lambda row: row["signal"],
            "% of Bayes": lambda row: f"{row['score']:.1f}",
            **{f"requests to {goal} %": to_goal(goal) for goal in ("80", "90", "95")},
            "processor seconds": cpu,
        },
    )


def learning_display() -> str:
    """Learners on preset display."""
    return learning(
        "learning-display",
        "display",
        {
            "% of Bayes": spread,
            "budget spent": lambda row: share(row["spent"]),
            "ROAS": lambda row: f"{row['roas']:.2f}",
            "processor seconds": cpu,
        },
    )


def learning_log() -> str:
    """Learners on a real log."""
    return learning(
        "learning-log",
        "log",
        {
            "% of hindsight": spread,
            "budget spent": lambda row: share(row["spent"]),
            "processor seconds": cpu,
        },
    )


def improvement() -> str:
    """How often a run of the causal encoder beats a run of another learner, by preset."""
    rows = []
    for name, preset in (
        ("learning", "journey"),
        ("learning-display", "display"),
        ("learning-log", "log"),
    ):
        for pair in read(name)["presets"][preset]["improvement"]:
            if pair["of"] == "causal":
                low, high = pair["interval"]
                chance = f"{pair['probability']:.2f} [{low:.2f}, {high:.2f}]"
                rows.append([f"`{preset}`", f"`{pair['over']}`", chance])
    return table(["preset", "causal over", "probability of improvement"], rows)


ABLATIONS = {
    "window_2": "window of 2",
    "window_4": "window of 4",
    "window_8": "window of 8",
    "window_12": "**window of 12**",
    "window_16": "window of 16",
    "causal_12": "one direction, L = 12 (causal)",
    "causal_24": "one direction, L = 24 (causal)",
    "no_previous_action": "without the previous bid",
    "mean_pooling": "mean of the window instead of attention pooling",
    "no_transformer": "without Transformer",
    "no_lstm": "without LSTM",
    "reward_sampled": "paid by outcomes (`sampled`), `gamma` 1",
    "reward_expected": "paid by expected profit (`expected`), `gamma` 1",
}


def ablations() -> str:
    """The encoder with one change each."""
    rows = {row["policy"]: row for row in read("ablations")["presets"]["journey"]["rows"]}
    return table(
        ["model", "% of Bayes", "processor seconds"],
        ([text, spread(rows[key]), cpu(rows[key])] for key, text in ABLATIONS.items()),
    )


def stale() -> str:
    """Bids from a stored state beside bids after reading the journey again."""
    return table(
        [
            "requests since",
            "apart after the cut",
            "apart at the end",
            "another bid after the cut",
            "another bid at the end",
        ],
        (
            [
                f"{row['requests_since']:,}",
                f"{row['apart_after_the_cut']:.3f}",
                f"{row['apart_at_the_end']:.3f}",
                f"{row['other_bid_after_the_cut']:.1%}".replace("%", " %"),
                f"{row['other_bid_at_the_end']:.1%}".replace("%", " %"),
            ]
            for row in read("stale")["rows"]
            if row["encoder"] == "causal"
        ),
    )


def probes_stage() -> str:
    """How well the hidden stage can be read from the encoder."""
    names = {
        "nothing known": "the commonest stage",
        "features": "features of the encoder",
        "bayes": "belief of Bayes' rule",
    }
    stage = read("probes")["stage"]
    return table(
        ["stage read from", "accuracy", "agrees with Bayes", "loss, nats"],
        (
            [
                text,
                *(f"{stage[key][of]:.3f}" for of in ("accuracy", "agrees_with_bayes", "loss")),
            ]
            for key, text in names.items()
        ),
    )


def probes_channels() -> str:
    """Bids after impressions on two channels."""
    return table(
        ["channels of the last two impressions", "requests", "bid", "bid of Bayes"],
        (
            [
                ", then ".join(row["channels"]),
                f"{row['requests']:,}",
                f"{row['bid']:.4f}",
                f"{row['bayes_bid']:.4f}",
            ]
            for row in read("probes")["channels"]
        ),
    )


def probes_attention() -> str:
    """Where the pooling looks, by what a token holds."""
    return table(
        ["token", "tokens", "times an even share"],
        (
            [name, f"{row['tokens']:,}", f"{row['times_even']:.2f}"]
            for name, row in read("probes")["attention"]["by_type"].items()
        ),
    )


def exploration() -> str:
    """Ways of exploring with DQN."""
    result = read("exploration")
    rows = []
    for name, group in groupby(result["runs"], key=lambda run: run["exploration"]):
        runs = list(group)
        profits = [mean(run["profit_per_user"]) for run in runs]
        above = sum(run["seeds_above_memoryless"] for run in runs)
        rows.append(
            [
                name,
                " ".join(f"{profit:.4f}" for profit in profits),
                f"{mean(profits):.4f}",
                f"{100 * mean(profits) / mean(result['bayes']):.1f}",
                f"{above} of {3 * len(runs)}",
            ]
        )
    for name in ("memoryless", "bayes"):
        profit = mean(result[name])
        rows.append(
            [
                name,
                None,
                f"{profit:.4f}",
                f"{100 * profit / mean(result['bayes']):.1f}",
                None,
            ]
        )
    heads = ["exploration", "profit per user, by training seed", "mean", "% of Bayes"]
    return table([*heads, "above memoryless on"], rows)


MARKS = (100_000, 300_000, 600_000, 1_200_000, 1_500_000, 3_000_000)


def lift(name: str) -> str:
    """What runs of `bench lift` earn after so many requests; in drawn worlds the gap, too."""
    every = [(run["world"], run["who"], run) for run in read(name)["runs"] if run["points"]]
    every.sort(key=lambda each: each[:2])
    rows: list[list[object]] = []
    gaps: dict[int, list[float]] = {mark: [] for mark in MARKS}
    for (world, who), group in groupby(every, key=lambda each: each[:2]):
        runs = [run for _, _, run in group]
        row: list[object] = [world, who, len(runs)]
        for mark in MARKS:
            points = [point for run in runs if (point := _at(run, mark)) is not None]
            row.append(_earned(points, world.startswith("drawn")))
            if world.startswith("drawn") and who == "lift":
                gaps[mark] += [point["pct_of_gap"] for point in points]
        seconds = [point["cpu_seconds"] for run in runs for point in run["points"][-1:]]
        rows.append([*row, f"{mean(seconds):.0f}"])
    if any(gaps.values()):
        means = [f"{mean(gap):.0f} % of the gap" if gap else None for gap in gaps.values()]
        rows.append(["mean of `drawn`", "lift", None, *means, None])
    heads = ["world", "who", "training seeds", *(f"{mark:,} requests" for mark in MARKS)]
    keep = [n for n in range(len(heads) + 1) if n < 3 or any(row[n] for row in rows)]
    heads.append("processor seconds")
    return table([heads[n] for n in keep], ([row[n] for n in keep] for row in rows))


def _at(run: Row, mark: int) -> Row | None:
    """The point of a run that stands at so many requests."""
    near = (point for point in run["points"] if mark <= point["steps"] < 1.06 * mark)
    return next(near, None)


def _earned(points: list[Row], drawn: bool) -> str | None:
    """Of one run or more: % of Bayes, the least if there are several, and the gap of a world."""
    if not points:
        return None
    of_bayes = [point["pct_of_bayes"] for point in points]
    text = f"{mean(of_bayes):.1f}"
    if len(points) > 1:
        text += f" (of {len(points)}, least {min(of_bayes):.1f})"
    return f"{text}, {mean([p['pct_of_gap'] for p in points]):.0f} % of the gap" if drawn else text


def memory() -> str:
    """Tasks that only memory solves."""
    rows = []
    for (task, name), group in groupby(
        read("memory")["runs"], key=lambda run: (run["task"], run["contender"])
    ):
        runs = list(group)
        reached = [run["steps_to_goal"] for run in runs if run["steps_to_goal"] is not None]
        steps = f"{max(reached):,}" if len(reached) == len(runs) else None
        finals = [run["final"] for run in runs]
        rows.append(
            [
                task,
                name,
                " ".join(map(number, finals)),
                number(mean(finals)),
                steps or f"{len(reached)} of {len(runs)} seeds",
                f"{mean([run['cpu_seconds'] for run in runs]):.0f}",
            ]
        )
    return table(["task", "contender", "by seed", "mean", "steps to goal", "CPU s"], rows)


def t_maze() -> str:
    """Corridors that were learned, or not."""
    rows = ((row["corridor"], row["encoder"], row) for row in read("t-maze"))
    return table(
        ["corridor", "encoder", "seed", "mean return", "steps", "CPU s"],
        (
            [
                corridor,
                encoder,
                row["seed"],
                f"{row['return']:.2f}",
                f"{row['steps']:,}",
                f"{row['cpu']:.0f}",
            ]
            for corridor, encoder, row in rows
        ),
    )


TABLES: dict[str, Callable[[], str]] = {
    "learning-journey": learning_journey,
    "peers": peers,
    "learning-display": learning_display,
    "learning-log": learning_log,
    "improvement": improvement,
    "ablations": ablations,
    "stale": stale,
    "probes-stage": probes_stage,
    "probes-channels": probes_channels,
    "probes-attention": probes_attention,
    "exploration": exploration,
    "lift": lambda: lift("lift"),
    "memory": memory,
    "t-maze": t_maze,
}
