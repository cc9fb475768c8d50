// What an integrator does, with the generated TypeScript client, against API_URL with API_KEY.

import { randomUUID } from "node:crypto";

import { ActionsApi, CallsApi, Configuration, ResponseError } from "../typescript/src";

function assert(fact: unknown, told: string): asserts fact {
  if (!fact) throw new Error(told);
}

async function refused(status: number, request: Promise<unknown>): Promise<void> {
  const outcome = await request.then(() => "no refusal", (error: unknown) => error);
  assert(outcome instanceof ResponseError && outcome.response.status === status, `expected ${status}: ${outcome}`);
}

async function main(): Promise<void> {
  const configuration = new Configuration({ basePath: process.env.API_URL, accessToken: process.env.API_KEY });
  const calls = new CallsApi(configuration);
  const actions = new ActionsApi(configuration);

  // List, filter, page through.
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await calls.listCalls({ state: "completed", limit: 5, cursor });
    seen.push(...page.items.map((call) => call.id));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  assert(seen.length >= 10 && new Set(seen).size === seen.length, `${seen.length} calls`);
  assert((await calls.listCalls({ state: "failed" })).items.length === 0, "no call has failed");
  await refused(400, calls.listCalls({ cursor: "of another list" }));

  // One call and what was said in it.
  const call = await calls.getCall({ id: seen[0] });
  assert(call.summary && call.caller.number && call.cost.currency === "USD", "a call has a summary");
  const transcript = await calls.getTranscript({ id: call.id });
  assert(transcript.segments.length > 0, "a call has a transcript");

  // Edit an action item; somebody else was faster; complete it.
  const item = (await actions.listActions({ state: "open", limit: 1 })).items[0];
  const ifMatch = (await actions.getActionRaw({ id: item.id })).raw.headers.get("ETag");
  assert(ifMatch, "an action item has an ETag");
  const edited = await actions.editAction({ id: item.id, ifMatch, actionItemEdit: { owner: "Dana Example" } });
  assert(edited.owner === "Dana Example", "the edit was made");
  await refused(412, actions.editAction({ id: item.id, ifMatch, actionItemEdit: { owner: "Sam Example" } }));
  const idempotencyKey = randomUUID();
  const done = await actions.completeAction({ id: item.id, idempotencyKey });
  const again = await actions.completeAction({ id: item.id, idempotencyKey });
  assert(done.state === "done" && JSON.stringify(done) === JSON.stringify(again), "it is done, once");

  // Export.
  const lines = (await calls.exportCalls({ state: "completed" })).trimEnd().split("\r\n");
  assert(lines.length === seen.length + 1, `${lines.length} lines`);

  // Run a call again: say first what it would do, then do it.
  const planned = await calls.rerunCall({ id: call.id, rerunOrder: { from: "analyze", dryRun: true } });
  assert(planned.dryRun && planned.run === null && planned.steps.includes("analyze"), "a plan does nothing");
  const begun = await calls.rerunCall({ id: call.id, rerunOrder: { from: "analyze" } });
  assert(begun.run === 2, "the second run");
  const deadline = Date.now() + 60_000;
  while ((await calls.getCall({ id: call.id })).state !== "completed") {
    assert(Date.now() < deadline, "the call was not completed again");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  console.log(`TypeScript: ${seen.length} calls paged through, one edited, completed, exported and run again.`);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
