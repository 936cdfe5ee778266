"""The field table of docs/environments/observation.md is that of the code."""

from pathlib import Path

from rllib_seq.envs.ad_auction import AuctionConfig
from rllib_seq.envs.ad_auction.journey.features import fields

PAGE = Path(__file__).parents[3] / "docs" / "environments" / "observation.md"


def field_table():
    config = AuctionConfig("display")
    rows = ["| field | group | range | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{f.name}` | {f.group} | {f.low} to {f.high} | {f.meaning} |"
        for f in fields(config.build_layout(config.build_preset()))
    ]
    return "\n".join(rows)


def test_the_field_table_is_up_to_date():
    text = PAGE.read_text()
    shown = text[text.index("<!-- fields -->") + 15 : text.index("<!-- end -->")].strip()
    assert shown == field_table(), f"put this into {PAGE.name}:\n{field_table()}"
