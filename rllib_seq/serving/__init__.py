"""A bid server that remembers every user.

- `spec`, `policy`: an exported policy; `rllib-seq export` writes it.
- `sessions`, `service`, `notices`: from bid requests to bids and from notices to books, no HTTP.
- `openrtb`: what OpenRTB 2.6 says, and the ids of bids.
- `state`: what must survive, in a file or in Redis.
- `http`: the application and `engine_local`, one process; `engine_ray` is a Ray Serve fleet.

`engine_ray` and `scoring` alone import Ray.
"""
