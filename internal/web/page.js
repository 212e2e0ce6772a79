"use strict";
// Keeps the page fresh. Without it the page is complete and reloads by itself.
setInterval(async () => {
  if (document.hidden) return;
  const stale = document.querySelector(".stale");
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(8000) });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(next.querySelector("main"));
    document.title = next.title;
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}, 10000);
