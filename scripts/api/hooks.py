"""What schemathesis cannot read in the document: which key it has, and rules between values that no schema can say."""

import atexit
import collections
import itertools
import json
import os
import urllib.request

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

# Valid by the schema, and refused with reason: code of the problem and what it is about.
REFUSED = {
    ("bad_cursor", "cursor"): "Cursors are made by the server, each for one list with its filters.",
    ("bad_parameter", "q"): "Nothing but words that are in every text, or signs.",
    ("bad_parameter", "sort"): "An order that is none of a search, or of a list without one.",
    ("bad_parameter", "to"): "A time before that in `from`.",
    ("bad_parameter", "last_day"): "A day before 1970: the clocks of a time zone are known since then.",
    ("bad_header", "Last-Event-ID"): "Ids of events are made by the server.",
    ("invalid_body", "bounds"): "A key with the scope `admin` has no bounds.",
    ("invalid_body", "bounds.to"): "A time before that in `bounds.from`.",
    ("invalid_body", "expires_at"): "A time that is over.",
    ("precondition_failed", "If-Match"): "A version that the item has not.",
    ("idempotency_key_reused", "Idempotency-Key"): "The same text as in an earlier request.",
}


def own_key():
    """The id of the key that the run has: who revokes it tries nothing more."""
    prefix = os.environ["API_KEY"].split("_")[1]
    request = urllib.request.Request(f"{os.environ['API_URL']}/api/keys/?limit=200")
    request.add_header("Authorization", f"Bearer {os.environ['API_KEY']}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return next(key["id"] for key in json.load(answer)["items"] if key["prefix"] == prefix)


OWN_KEY = own_key()
NO_KEY = "019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11"
EXAMPLE = "8e03978e-40d5-43dd-bc93-6894a57f9324"
numbers = itertools.count()
refused = collections.Counter()


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.path in ("/api/keys/{id}/revoke", "/api/keys/{id}/rotate"):
        if str(case.path_parameters.get("id")).lower() == OWN_KEY:
            case.path_parameters["id"] = NO_KEY
    # The example of the document is one key; each request that has it would be a repetition of the first one.
    if case.headers.get("Idempotency-Key") == EXAMPLE:
        case.headers["Idempotency-Key"] = f"{EXAMPLE}-{next(numbers)}"


@schemathesis.hook
def filter_failure(context, failure: Failure, case, response):
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    whys = [(problem["code"], error["field"]) for error in problem["errors"]]
    if not whys or any(why not in REFUSED for why in whys):
        return True
    refused.update(whys)
    return False


@atexit.register
def tell():
    for why, count in refused.most_common():
        print(f"{count} times {' '.join(why)}: {REFUSED[why]}")
