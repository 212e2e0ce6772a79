"use strict";
const root = document.currentScript.src.replace(/[^/]*$/, "");

// Keeps the page fresh. Without it the page is complete and reloads by itself.
async function refresh() {
  if (document.hidden) return;
  const stale = document.querySelector(".stale");
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(8000) });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(next.querySelector("main"));
    document.title = next.title;
    arm();
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}

// Buttons need this script, so it shows them.
function arm() {
  for (const button of document.querySelectorAll(".acknowledge")) {
    button.hidden = false;
    button.onclick = () => acknowledge(button.dataset.incident);
  }
}

async function acknowledge(incident) {
  const by = prompt("Who has taken this on?", localStorage.getItem("by") || "");
  if (!by) return;
  localStorage.setItem("by", by);
  const answer = await fetch(root + "api/commands/acknowledge", { method: "POST", body: JSON.stringify({ incident, author: by }) });
  if (!answer.ok) alert(await answer.text());
  refresh();
}

arm();
setInterval(refresh, 10000);
