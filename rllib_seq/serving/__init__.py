"""A bid server that remembers every user.

- `exported`: what `rllib-seq export` wrote, and what runs it.
- `openrtb`: what OpenRTB 2.6 says: requests, what may be shown, who the user is, prices.
- `sessions`, `state`: what is remembered, in memory and in a file or in Redis.
- `service`, `notices`: from bid requests to bids and from notices to books, no HTTP.
- `http`: the application and `engine_local`, one process; `engine_ray` is a Ray Serve fleet.

`engine_ray` and `exported.scoring` alone import Ray.
"""
