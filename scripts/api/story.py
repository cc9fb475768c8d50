"""What an integrator does, with the generated Python client, against API_URL with API_KEY."""

import os
import time
import uuid

from goto_automation_client import ActionItemEdit, ActionsApi, ApiClient, CallsApi, Configuration, RerunOrder
from goto_automation_client.exceptions import ApiException


def refused(status, call, *arguments, **more):
    try:
        call(*arguments, **more)
    except ApiException as problem:
        assert problem.status == status, problem
        return
    raise AssertionError(f"expected {status}")


def main():
    configuration = Configuration(host=os.environ["API_URL"], access_token=os.environ["API_KEY"])
    with ApiClient(configuration) as client:
        calls, actions = CallsApi(client), ActionsApi(client)

        # List, filter, page through.
        seen, cursor = [], None
        while True:
            page = calls.list_calls(state="completed", limit=5, cursor=cursor)
            seen += [call.id for call in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) >= 10, seen
        assert not calls.list_calls(state="failed").items
        refused(400, calls.list_calls, cursor="of another list")

        # One call and what was said in it.
        call = calls.get_call(seen[0])
        assert call.summary and call.caller.number and call.cost.currency == "USD"
        transcript = calls.get_transcript(call.id)
        assert transcript.segments and transcript.segments[0].start_ms >= 0

        # Edit an action item; somebody else was faster; complete it.
        item = actions.list_actions(state="open", limit=1).items[0]
        tag = f'"{item.version}"'
        edited = actions.edit_action(item.id, tag, ActionItemEdit(owner="Dana Example"))
        assert edited.owner == "Dana Example"
        refused(412, actions.edit_action, item.id, tag, ActionItemEdit(owner="Sam Example"))
        once = str(uuid.uuid4())
        done = actions.complete_action(item.id, idempotency_key=once)
        assert done.state == "done"
        assert actions.complete_action(item.id, idempotency_key=once) == done

        # Export.
        lines = calls.export_calls(state="completed").splitlines()
        assert len(lines) == len(seen) + 1, len(lines)

        # Run a call again: say first what it would do, then do it.
        planned = calls.rerun_call(call.id, RerunOrder(var_from="analyze", dry_run=True))
        assert planned.dry_run and planned.run is None and "analyze" in planned.steps
        begun = calls.rerun_call(call.id, RerunOrder(var_from="analyze"))
        assert begun.run == 2
        deadline = time.monotonic() + 60
        while calls.get_call(call.id).state != "completed":
            assert time.monotonic() < deadline, "the call was not completed again"
            time.sleep(0.2)
    print(f"Python: {len(seen)} calls paged through, one edited, completed, exported and run again.")


main()
