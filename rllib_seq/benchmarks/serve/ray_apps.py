"""A bid server and an echo on one Ray Serve.

`python -m rllib_seq.benchmarks.serve.ray_apps EXPORT REDIS PORT`
"""

import sys
import threading

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from rllib_seq.benchmarks.serve.echo import echo_app
from rllib_seq.serving.engine_ray import bid_deployment, user_router
from rllib_seq.serving.settings import Settings

if __name__ == "__main__":
    export, state, port = sys.argv[1:]
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(port)))
    router = user_router()  # the peer is sent its requests in the same way
    echo = serve.deployment(name="echo", max_ongoing_requests=256, request_router_config=router)(
        serve.ingress(echo_app)()
    )
    serve.run(echo.bind(), name="echo", route_prefix="/echo")
    settings = Settings(export=export, state=state)
    serve.run(bid_deployment(settings, 1, 1), name="bids", route_prefix="/")
    threading.Event().wait()
