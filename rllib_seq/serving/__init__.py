"""A bid server that remembers every user.

- `spec`, `policy`: an exported policy; `rllib-seq export` writes it.
- `sessions`, `service`, `batching`: from bid requests to bids, no HTTP.
- `storage`, `sqlite_storage`, `redis_storage`: what must survive.
- `openrtb`, `app`, `live_page`: OpenRTB 2.6 over HTTP.
- `engine_local`, `engine_ray`: one process, or a Ray Serve fleet; `engine_ray` alone imports Ray.
"""
