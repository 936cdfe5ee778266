"""A policy that chooses creatives chooses among those that can be shown."""

import json

import numpy as np
import pytest
from conftest import exported
from serving_helpers import ask, request_of

from rllib_seq.envs.ad_auction import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.serving.exported.policy import blocks_of, split_parts
from rllib_seq.serving.http.bids.queries import queries_of
from rllib_seq.serving.masking import CreativeChoice
from rllib_seq.serving.openrtb.request import BidRequest

pytestmark = pytest.mark.slow  # two exports of its own
NAMES = ("brand", "offer", "service")


@pytest.fixture(scope="module", params=["levels_and_creatives", "multi_discrete"])
def chooser(request, tmp_path_factory):
    world = AuctionConfig(preset="display", num_users=12, actions=request.param)
    return exported(world, tmp_path_factory.mktemp(request.param))


def catalogue(folder, *names):
    """A banner for each of some creatives, each in a category of its own."""
    common = {
        **{"type": "banner", "adomain": ["example.com"], "landing": "https://example.com/"},
        **{"sizes": [[300, 250]], "adm": "{{click}}"},
    }
    ads = [
        {
            **common,
            "crid": f"banner-{name}",
            "creative": name,
            "cat": [f"IAB{NAMES.index(name) + 1}"],
        }
        for name in names
    ]
    path = folder / "creatives.json"
    path.write_text(json.dumps({"creatives": ads}))
    return str(path)


def answers(service, blocked, users):
    """What is bid on requests that block categories, and what is shown."""
    queries = []
    for user in users:
        body = request_of(f"user {user}", channel="auction", bcat=blocked)
        del body["imp"][0]["ext"]
        found, why = queries_of(BidRequest.model_validate(body), service, "")
        assert found, why
        queries.append(found[0][1])
    return service.answer(queries)


def test_only_what_can_be_shown_is_chosen(chooser, serve, tmp_path):
    service = serve(chooser, creatives=catalogue(tmp_path, *NAMES), budget=1e6)
    chosen = {}
    for blocked in ([], ["IAB1"], ["IAB2", "IAB3"], ["IAB1", "IAB3"]):
        allowed = {number for number in range(3) if f"IAB{number + 1}" not in blocked}
        made = [each for each in answers(service, blocked, range(40)) if each.bid is not None]
        assert made
        for each in made:
            assert each.bid.creative in allowed
            assert each.bought.placement.ad.creative == NAMES[each.bid.creative]
        chosen[len(allowed)] = {each.bid.creative for each in made}
    assert all(chosen.values())


def test_the_best_allowed_action_is_taken(chooser, serve, tmp_path):
    """As if the others were not there; with all allowed, nothing changes."""
    service = serve(chooser, creatives=catalogue(tmp_path, *NAMES), budget=1e6)
    policy, sizes = service.policy, service.policy.spec.action_sizes
    rows = service.memory.claim(np.arange(5), 0.0)
    dim = len(policy.spec.facts["observation"])
    seen = np.random.default_rng(0).random((5, dim)).astype(np.float32)
    past, memory = service.sessions.past(rows), service.sessions.memory(rows)
    free, _ = policy.act(seen, past, memory)
    choice = CreativeChoice.of(policy.spec.config.actions, sizes, NAMES)
    assert choice.allowed(np.full(5, 0b111)) is None
    every = np.ones((5, int(np.prod(sizes))), bool)
    assert (policy.act(seen, past, memory, allowed=every)[0] == free).all()
    for bits in (0b001, 0b010, 0b101):
        allowed = choice.allowed(np.full(5, bits))
        limited, _ = policy.act(seen, past, memory, allowed=allowed)
        assert allowed[np.arange(5), limited].all()
        kept = allowed[np.arange(5), free]
        assert (limited[kept] == free[kept]).all()  # an allowed best action stays the best
        if len(sizes) == 2:
            level, _ = split_parts(limited, sizes)
            assert (level == split_parts(free, sizes)[0]).all()


def test_exploring_draws_what_can_be_shown(chooser, serve, tmp_path):
    service = serve(chooser, creatives=catalogue(tmp_path, *NAMES), budget=1e6, explore=1.0)
    made = [each.bid for each in answers(service, ["IAB2"], range(200)) if each.bid is not None]
    assert {bid.creative for bid in made} == {0, 2}
    assert len({bid.amount for bid in made}) > 5


def test_a_query_without_an_offer_may_show_everything(chooser, serve):
    service = serve(chooser, budget=1e6)
    assert {each.why for each in service.answer([ask(user) for user in range(20)])} <= {
        *("bid", "policy")
    }


def test_creatives_that_the_policy_never_chooses(display, chooser, serve, tmp_path):
    with pytest.raises(UserError, match="the policy never chooses 'offer'; choose from brand, or"):
        serve(display, creatives=catalogue(tmp_path, "offer"))  # its actions are bid levels
    path = catalogue(tmp_path, "brand")
    unknown = (tmp_path / "creatives.json").read_text().replace('"brand"', '"poster"')
    (tmp_path / "creatives.json").write_text(unknown)
    with pytest.raises(
        UserError, match="never chooses 'poster'; choose from brand, offer, service"
    ):
        serve(chooser, creatives=path)


def test_blocks():
    allowed = np.array([[True, False, True, False, False, False]])
    assert blocks_of(allowed, [2, 3]).astype(int).tolist() == [[1, 0, 1, 0, 1]]
    assert blocks_of(allowed, [6]).tolist() == allowed.tolist()
