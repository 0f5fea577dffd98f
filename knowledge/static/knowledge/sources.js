// Follows sources while they are trained: asks every two seconds for those that move, and shows what has changed.
"use strict";

const EVERY_MS = 2000;
const LONGEST_MS = 30000;

const start = () => {
  const live = document.getElementById("sources-live");
  if (!live) return;
  const shown = () => [...document.querySelectorAll("[data-source]")];
  const moving = () => shown().filter((element) => element.dataset.moving);
  let waitMs = EVERY_MS;

  const put = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  const show = (element, told) => {
    const chip = element.querySelector(".mia-chip");
    put(chip, told.label);
    chip.dataset.tone = told.tone;
    put(element.querySelector("small"), told.note);
    element.dataset.moving = told.moving ? "True" : "";
    const row = element.closest("tr");
    put(row?.querySelector(".field-chunk_count"), told.chunks);
  };

  const ask = async () => {
    const ids = [...new Set(moving().map((element) => element.dataset.source))];
    if (!ids.length || document.visibilityState === "hidden") return;
    try {
      const response = await fetch(`${live.dataset.url}?ids=${ids.join()}`, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(String(response.status));
      const { sources } = await response.json();
      for (const element of shown()) {
        const told = sources[element.dataset.source];
        if (told) show(element, told);
        else if (element.dataset.moving) element.dataset.moving = "";
      }
      waitMs = EVERY_MS;
    } catch {
      waitMs = Math.min(waitMs * 2, LONGEST_MS);
    }
  };

  const loop = async () => {
    await ask();
    setTimeout(loop, waitMs);
  };
  loop();
};

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
