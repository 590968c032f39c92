// Live updates: a page without script reloads itself instead.
"use strict";
for (const box of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(box.dataset.live);
  source.addEventListener("message", (event) => { box.innerHTML = event.data; });
  source.addEventListener("end", () => source.close());
}
