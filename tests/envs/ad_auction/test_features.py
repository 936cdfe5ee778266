import numpy as np

from envs.ad_auction import features


def test_every_field_stands_where_it_is_declared():
    channels = ("display", "video")
    row = features.build(
        channel=np.array([1]),
        clicked=np.array([True]),
        visited=np.array([False]),
        last_profit=np.array([-0.25]),
        budget_left=0.5,
        flight_left=0.75,
        num_channels=2,
    )[0]
    names = [field.name for field in features.fields(channels)]
    assert dict(zip(names, row.tolist(), strict=True)) == {
        "channel_display": 0,
        "channel_video": 1,
        "clicked": 1,
        "visited": 0,
        "last_profit": -0.25,
        "budget_left": 0.5,
        "flight_left": 0.75,
    }
    assert features.observation_space(channels).contains(row)


def test_an_ended_journey_has_no_channel_and_profits_stay_in_range():
    none = np.array([False])
    row = features.build(np.array([-1]), none, none, np.array([-3.0]), 1.0, 1.0, 2)[0]
    assert row.tolist() == [0, 0, 0, 0, -1, 1, 1]
