// Empties the outbox, and shows what has come since the page was loaded. Text that somebody has opened stays open:
// the page waits with its reload until everything is folded again.
const shown = document.body.dataset.revision;

document.getElementById("empty").addEventListener("click", async () => {
  await fetch("/dev/outbox", { method: "DELETE" });
  location.reload();
});

async function look() {
  try {
    const revision = await (await fetch("/dev/outbox/revision", { cache: "no-store" })).text();
    if (revision !== shown && !document.querySelector(".slack details[open], .mail details[open]")) {
      location.reload();
      return;
    }
  } catch {
    // The server is gone for now; it may come back.
  }
  setTimeout(look, 2000);
}
setTimeout(look, 2000);
