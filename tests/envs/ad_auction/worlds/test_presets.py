import dataclasses
import math

import pytest

from rllib_seq.envs.ad_auction.worlds.presets import PRESETS, AuctionConfig


@pytest.mark.parametrize("preset", PRESETS)
def test_probabilities_are_probabilities(preset):
    model = PRESETS[preset].users
    assert model.initial_share.sum() == pytest.approx(1)
    assert model.channel_share.sum() == pytest.approx(1)
    for name in ("move_up", "move_down", "hazard_won", "hazard_lost", "churn", "click", "visit"):
        table = getattr(model, name)
        assert ((table >= 0) & (table <= 1)).all(), name


def test_bid_levels_start_with_no_bid_and_are_log_spaced_in_units_of_value():
    for preset in PRESETS.values():
        levels = preset.bid_levels / preset.value
        assert len(levels) == preset.num_bid_levels + 1
        assert levels[0] == 0
        assert levels[1] == pytest.approx(preset.lowest_bid)
        assert levels[-1] == pytest.approx(preset.highest_bid)
        ratios = levels[2:] / levels[1:-1]
        assert ratios == pytest.approx(ratios[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_an_experiment_may_choose_how_many_bid_levels_there_are(preset):
    theirs = AuctionConfig(preset=preset).build_preset()
    config = AuctionConfig.from_dict({"preset": preset, "num_bid_levels": 40})
    fine = config.build_preset()
    assert config.build_actions(fine).space.n == len(fine.bid_levels) == 41
    assert fine.bid_levels[[0, 1, -1]] == pytest.approx(theirs.bid_levels[[0, 1, -1]])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"preset": "journy"}, "unknown preset 'journy'; did you mean 'journey'.*display.*log"),
        ({"budget": -1.0}, "budget is -1.0; give a number of at least 0"),
        ({"budget": math.nan}, "budget is nan"),
        ({"shadow_price": "much"}, "shadow_price is 'much'"),
        ({"num_users": 0}, "num_users is 0"),
        ({"num_users": True}, "num_users is True"),
        ({"num_bid_levels": 0}, "num_bid_levels is 0"),
        ({"num_bid_levels": "16"}, "num_bid_levels is '16'"),
        ({"reward": "hoped"}, "unknown reward 'hoped'"),
        ({"auction": "dutch"}, "unknown auction 'dutch'"),
        ({"competitors": "truthfull"}, "unknown competitors 'truthfull'; did you mean 'truthful'"),
        (
            {"competitors": "rivalry", "reward": "regret"},
            "reward 'regret' knows .* not the hour's competitors, 'rivalry'; give reward=",
        ),
        ({"num_user": 3}, "unknown env config key 'num_user'; did you mean 'num_users'"),
    ],
)
def test_bad_config_is_refused_in_one_line(config, message):
    with pytest.raises(ValueError, match=message) as error:
        AuctionConfig.from_dict(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auction": "dutch"}, "unknown auction 'dutch'"),
        ({"observation": "all"}, "unknown observation 'all'"),
        ({"value": 0.0}, "value is 0.0; give a number above 0"),
        ({"num_bid_levels": 0}, "num_bid_levels is 0"),
        ({"floor": -0.1}, "floor is -0.1; give a number of at least 0"),
        ({"flight_hours": math.nan}, "flight_hours is nan"),
        ({"lowest_bid": 0.5}, "lowest_bid is 0.5 and highest_bid 0.3; .* the lowest first"),
    ],
)
def test_a_preset_that_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(PRESETS["journey"], **change)
    assert "\n" not in str(error.value)


def test_overrides_reach_the_preset():
    preset = AuctionConfig(
        num_users=10, budget=5.0, shadow_price=0.3, auction="first_price"
    ).build_preset()
    assert preset.budget_per_user == 0.5
    assert preset.shadow_price == 0.3
    assert preset.auction == "first_price"
