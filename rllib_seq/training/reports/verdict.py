"""A run in one sentence, for people who know nothing of it.

- `verdict_html`: what was trained, for how long, and how good it is
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_seq.training.storage.run_folder import Row


def verdict_html(
    config: Mapping[str, Any], progress: Sequence[Row], evaluation: Mapping[str, Any] | None
) -> str:
    """The first paragraph of a report.

    Args:
        config: `config.json` of the run.
        progress: rows of `progress.csv`.
        evaluation: `evaluation.json`, if there is one.
    """
    sentences = [_trained(config, progress)]
    if evaluation is None:
        sentences.append("It has not been evaluated yet: <code>rllib-seq evaluate RUN</code>.")
    elif "return" in evaluation:
        sentences.append(_returns(evaluation))
    elif evaluation["preset"] == "log":
        sentences.append(_log(evaluation))
    else:
        sentences.append(_auction(evaluation))
    return f"<p class=verdict>{' '.join(sentences)}</p>"


def _trained(config: Mapping[str, Any], progress: Sequence[Row]) -> str:
    algorithm = html.escape(str(config.get("algorithm", "A policy")))
    where = html.escape(_where(config))
    if not progress:
        return f"{algorithm} was set up for {where}."
    steps, seconds = (float(progress[-1][name] or 0) for name in ("steps", "seconds"))
    long = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    return f"{algorithm} was trained for {long} on {steps:,.0f} steps of {where}."


def _where(config: Mapping[str, Any]) -> str:
    env, settings = str(config.get("env", "an environment")), config.get("env_config") or {}
    preset = settings.get("preset")
    return f"the ad auction (preset {preset})" if preset else env


def _returns(evaluation: Mapping[str, Any]) -> str:
    found = evaluation["return"]
    width = "" if found["half_width"] is None else f" ± {found['half_width']:.2g}"
    return (
        f"In {evaluation['episodes']} new episodes its mean return is "
        f"<b>{found['mean']:.4g}{width}</b> (95 %)."
    )


def _log(evaluation: Mapping[str, Any]) -> str:
    over = {row["policy"]: row["over_linear"] for row in evaluation["summary"]}["trained"]
    what = "expected clicks" if evaluation["ranked_by"] == "expected_clicks" else "gains"
    width = over["half_width"]
    amount = f"{abs(over['mean']):.3g} {what} per episode"
    if width is not None and abs(over["mean"]) <= width:
        found = "does not differ measurably from"
    else:
        found = f"gets <b>{amount} {'more' if over['mean'] > 0 else 'less'}</b> than"
    return f"On the held-out days it {found} linear bids, the usual rule without memory."


def _auction(evaluation: Mapping[str, Any]) -> str:
    rows = {row["policy"]: row for row in evaluation["summary"]}
    mine = rows["trained"]
    profit, over = mine["profit_per_user"], mine["over_memoryless"]
    if over["mean"] - over["half_width"] > 0:
        verdict = f"<b>Memory pays</b>: that is {over['mean']:.4f} more than"
    elif over["mean"] + over["half_width"] < 0:
        verdict = f"That is <b>{-over['mean']:.4f} less</b> than"
    else:
        verdict = "That is <b>not measurably different</b> from"
    shares = [
        f"<b>{mine[key]:.1f}\u00a0%</b> of {what}"
        for key, what in (
            ("pct_of_optimum", "the optimum"),
            ("pct_of_bayes", "Bayes' rule"),
        )
        if mine.get(key) is not None
    ]
    share = f", {' and '.join(shares)}" if shares else ""
    return (
        f"In new campaigns it earns {profit['mean']:.4f} ± {profit['half_width']:.4f} per user"
        f"{share}. {verdict} the best bidder without memory (95 %)."
    )
