"""The empty route: Flask reads the body and answers what the connector answers. The limit of this stack."""

import json

from flask import Flask, Response, request

app = Flask(__name__, static_folder=None)


@app.get("/healthz")
def healthz() -> str:
    """It is up."""
    return "ok"


@app.post("/hs/UIScom/<route>")
def notification(route: str) -> Response:
    """Read all of it, keep nothing."""
    request.get_data()
    return Response(json.dumps({"status": "accepted"}) + "\n", content_type="application/json; charset=utf-8")
