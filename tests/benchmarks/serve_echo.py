"""What the HTTP server alone can do: answers a request with its own body.

`serve_echo.py PORT`; the same FastAPI and uvicorn settings as the bid server.
"""

import sys

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rllib_seq.serving.engine_local import run_uvicorn


def echo_app():
    """An app with one route."""
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    return app


if __name__ == "__main__":
    run_uvicorn(echo_app(), "127.0.0.1", int(sys.argv[1]))
