"""What the HTTP server does without a bidder: two echoes, as FastAPI's documentation writes them.

- `/echo`: reads a bid request, validates it and answers with it, as FastAPI does by itself.
- `/raw`: answers with the bytes of the body and looks at nothing.

`python -m rllib_seq.benchmarks.serve.echo PORT`; the same uvicorn settings as the bid server.
"""

import sys

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rllib_seq.serving.http.connections import Connections, bound_socket
from rllib_seq.serving.http.engine_local import run_uvicorn
from rllib_seq.serving.openrtb.request import BidRequest


def echo_app() -> FastAPI:
    """An app with both."""
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: BidRequest) -> BidRequest:
        return request

    @app.post("/raw")
    async def raw(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    return app


if __name__ == "__main__":
    run_uvicorn(
        echo_app(), bound_socket("127.0.0.1", int(sys.argv[1])), Connections(4096, 4096, 5.0, 5.0)
    )
