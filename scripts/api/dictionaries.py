"""Prints, as a part of schemathesis.toml, the ids that the server of API_URL has: without them nearly all is 404."""

import json
import os
import urllib.request


def ids(path):
    request = urllib.request.Request(f"{os.environ['API_URL']}{path}")
    request.add_header("Authorization", f"Bearer {os.environ['API_KEY']}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return [item["id"] for item in json.load(answer)["items"]]


for name in ("calls", "actions", "keys"):
    print(f"[dictionaries.{name}]\nvalues = {json.dumps(ids(f'/api/{name}/'))}\n")
