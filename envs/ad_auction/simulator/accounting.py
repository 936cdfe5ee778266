"""What a step leaves behind: users, ledgers, rewards, counts and events.

- `Accounting`: everything that is written down about requests that have been served.
- `exposure`: how many impressions a user still feels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.draws import categorical
from rllib_seq.envs.ad_auction.journey.users import Reaction, Response
from rllib_seq.envs.ad_auction.simulator.campaign import Groups, Ledgers
from rllib_seq.envs.ad_auction.simulator.events import EventRecorder
from rllib_seq.envs.ad_auction.simulator.state import NEVER, Served, UserState
from rllib_seq.envs.ad_auction.simulator.tracking import Tracker, exposure_at, wear_out
from rllib_seq.envs.ad_auction.worlds.presets import EVENT_REWARDS
from rllib_seq.envs.ad_auction.worlds.values import Regret
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Accounting:
    """The books of E campaigns.

    Args:
        preset: the world.
        num_users: of each campaign.
        reward: see `AuctionConfig.reward`.
        credits: see `AuctionConfig.credits`.
        enforce_budget: see `AuctionConfig.enforce_budget`.
        state: `[E * slots]` rows.
        num_campaigns: E.
        count: keep what full observations need.
        record: keep all events.

    Attributes:
        ledgers: see `Ledgers`.
        rewards: `[E]`, what the campaigns brought since they were last asked.
        tracker: what is counted, or None.
        events: what is recorded, or None.
    """

    def __init__(
        self,
        preset: Preset,
        num_users: int,
        reward: str,
        credits: tuple[float, ...] | None,
        enforce_budget: bool,
        state: UserState,
        num_campaigns: int,
        count: bool,
        record: bool,
    ) -> None:
        self._preset, self._state = preset, state
        self._slots = len(state.number) // num_campaigns
        self._worth = preset.value * preset.users.audience.value_factor  # (K,)
        # An end of a journey is then a probability and not an event, see `AuctionConfig.reward`.
        self._nobody_leaves = reward not in EVENT_REWARDS
        self._credits = None if credits is None else np.array(credits)  # (C,)
        self._regret = Regret(preset) if reward == "regret" else None
        self._wears_out = preset.users.effects_vary or count
        self.ledgers = Ledgers(num_campaigns, preset.budget_per_user * num_users, enforce_budget)
        self.rewards = np.zeros(num_campaigns)
        rows, channels = len(state.number), len(preset.users.channels)
        self.tracker = Tracker(rows, num_campaigns, channels) if count else None
        self.events = EventRecorder(preset.users) if record else None

    def clear(self, campaigns: Ints) -> None:
        """Opens new books."""
        self.ledgers.clear(campaigns)
        self.rewards[campaigns] = 0.0
        if self.tracker is not None:
            self.tracker.clear_campaigns(campaigns)
        if self.events is not None:
            self.events.clear()

    def settle(
        self,
        served: Served,
        reaction: Reaction,
        response: Response | None,
        drawn: dict[str, Floats],
        tick: Ints,
    ) -> Floats:
        """Books a step.

        Args:
            served: what was served.
            reaction: what the users did.
            response: what multiplied the impressions' effects.
            drawn: uniforms by purpose.
            tick: `[n]`, now.

        Returns:
            `[n]`: hours at which conversions will happen that are yet to be delivered.
        """
        happens = self._book(served, reaction, response, drawn, tick)
        if self._wears_out:
            self._wear_out(served)
        if self.tracker is not None:
            self.tracker.request(served, reaction)
            if self._nobody_leaves:
                happens = self._sample_counterfactual(served, reaction, drawn)
        if self.events is not None:
            self.events.add_served(self._state, served, reaction, self._preset.floor)
        caused = np.isfinite(happens)
        rows = served.rows[caused]
        if self._preset.users.delay is None:
            self._count_conversions(rows, happens[caused])
            return np.full(len(caused), np.inf)
        self._state.conversion_hour[rows] = happens[caused]
        self._state.ended[rows] = False
        return happens

    def _book(
        self,
        served: Served,
        reaction: Reaction,
        response: Response | None,
        drawn: dict[str, Floats],
        tick: Ints,
    ) -> Floats:
        """Writes a step into the users' state and the ledgers; `[n]`, when conversions happen."""
        state, preset, model = self._state, self._preset, self._preset.users
        rows, hour, request = served.rows, served.hour, served.request
        segment = state.segment[rows]
        upcoming = model.traffic.next_tick(tick, drawn["gap"], drawn.get("session", drawn["gap"]))
        more = (request < model.requests_per_user - 1) & (
            upcoming * model.traffic.tick_hours < preset.flight_hours
        )
        if model.return_probability is not None:
            more &= drawn["back"] < model.return_probability[request]

        # How much these users count: the probability that they are still there, if no one leaves.
        survival = state.survival[rows]
        remains = survival
        cost = (1.0 + preset.shadow_price) * served.paid
        in_flight = np.ones(1)
        if model.delay is not None:
            in_flight = model.delay.cdf(preset.flight_hours - hour)
        if self._nobody_leaves:
            remains = survival * (1.0 - reaction.departure_probability)
            state.survival[rows] = remains
            happens = np.full(len(rows), np.inf)
            caused = survival * reaction.conversion_probability
            conversions, censored = in_flight * caused, (1.0 - in_flight) * caused
        else:
            happens, late = self._happens(reaction.converted, hour, drawn)
            # Those with a delay are counted when they happen.
            conversions = np.isfinite(happens) * float(model.delay is None)
            censored = late.astype(np.float64)
        value = self._worth[segment] * conversions
        if self._regret is not None:
            reward = survival * self._regret(
                served.bid,
                segment,
                request,
                served.stage,
                served.channel,
                more,
                in_flight,
                response,
            )
        else:
            reward = value - survival * cost
        if self._credits is not None:
            advance = self._credits[served.channel] * self._worth[segment] * served.won
            state.advanced[rows] += advance
            reward = reward + advance
        state.reward[rows] += reward
        self.rewards[served.groups.campaigns] += served.groups.sums(reward)
        self.ledgers.add(
            served.groups,
            requests=survival,
            wins=survival * served.won,
            clicks=survival * reaction.clicked,
            visits=remains * reaction.visited,  # of those who stayed
            conversions=conversions,
            censored=censored,
            spend=survival * served.paid,
            value=value,
        )

        state.last_profit[rows] = -cost / preset.value
        state.clicked[rows] = reaction.clicked
        state.visited[rows] = reaction.visited
        state.stage[rows] = reaction.stage
        state.request[rows] = request + 1
        state.channel[rows] = categorical(model.channel_share, drawn["channel"])
        goes_on = more & ~(reaction.converted | reaction.churned)
        state.next_tick[rows] = np.where(goes_on, upcoming, NEVER)
        # Not before a conversion of their has happened, which an earlier request may have caused
        # where no one leaves.
        state.ended[rows] = ~goes_on & ~np.isfinite(state.conversion_hour[rows])
        # A conversion that is yet to come settles the advances when it comes.
        self._settle_advances(rows[~goes_on & ~(np.isfinite(happens) & (model.delay is not None))])
        return happens

    def _settle_advances(self, rows: Ints) -> None:
        """Takes back, at the ends of journeys, what was paid in advance."""
        if self._credits is None or len(rows) == 0:
            return
        groups = Groups.of(rows // self._slots, len(self.rewards))
        advanced = self._state.advanced[rows]
        self._state.reward[rows] -= advanced
        self.rewards[groups.campaigns] -= groups.sums(advanced)
        self._state.advanced[rows] = 0.0

    def _happens(
        self, converted: Bools, hour: Floats, drawn: dict[str, Floats]
    ) -> tuple[Floats, Bools]:
        """When conversions happen, infinity for never, and which would after the flight."""
        delay = self._preset.users.delay
        happens = hour if delay is None else hour + delay.ppf(drawn["delay"])
        late = converted & (happens > self._preset.flight_hours)
        return np.where(converted & ~late, happens, np.inf), late

    def _sample_counterfactual(
        self, served: Served, reaction: Reaction, drawn: dict[str, Floats]
    ) -> Floats:
        """When conversions would happen where no one leaves; from then on the user is not counted.

        A bidder may see conversions, never their probability.
        """
        assert self.tracker is not None
        here = ~self.tracker.gone[served.rows]
        hazard = reaction.conversion_probability
        churn = 1 - (1 - reaction.departure_probability) / np.maximum(1 - hazard, 1e-300)
        converts = here & (drawn["conversion"] < hazard)
        self.tracker.gone[served.rows] = ~here | converts | (drawn["churn"] < churn)
        return self._happens(converts, served.hour, drawn)[0]

    def _wear_out(self, served: Served) -> None:
        """Counts impressions that have been shown."""
        won = served.won
        half_life = self._preset.users.creatives.half_life_hours
        rows, hour, creative = served.rows[won], served.hour[won], served.creative[won]
        wear_out(self._state, rows, hour, creative, half_life)

    def deliver(self, rows: Ints) -> None:
        """Pays out conversions that happen now."""
        self._count_conversions(rows, self._state.conversion_hour[rows])
        if self._nobody_leaves:  # paid for when it was caused, by its probability
            return
        groups = Groups.of(rows // self._slots, len(self.rewards))
        value = self._worth[self._state.segment[rows]]
        self.ledgers.add(groups, conversions=np.ones(len(rows)), value=value)
        self.rewards[groups.campaigns] += groups.sums(value)
        self._state.reward[rows] += value
        self._settle_advances(rows)

    def _count_conversions(self, rows: Ints, hour: Floats) -> None:
        if self.tracker is not None:
            self.tracker.convert(rows, hour)
        if self.events is not None and len(rows):
            worth = self._worth[self._state.segment[rows]]
            self.events.add_conversions(self._state, rows, rows // self._slots, hour, worth)

    def forget(self, rows: Ints) -> None:
        """Makes room for other users."""
        self._state.clear(rows)
        if self.tracker is not None:
            self.tracker.clear_users(rows)


def exposure(state: UserState, preset: Preset, rows: Ints, hour: Floats) -> Floats:
    """`[n]`: the impressions shown to users until now, see `users.Creatives`."""
    return exposure_at(state, rows, hour, preset.users.creatives.half_life_hours)
