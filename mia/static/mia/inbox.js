// Keeps the list of conversations live: asks for its pulse, and exchanges the list when something changed.
const tabs = document.querySelector("[data-pulse]");
const EVERY_MS = 1000;
const LONGEST_MS = 30000;
let version = null;
let waiting = null;
let failures = 0;
let timer = null;

const isBusy = () => document.querySelector("#result_list input:checked, .actions select:focus") !== null;

const exchange = async () => {
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of ["#result_list", "[data-pulse]"]) {
    const [old, next] = [document.querySelector(part), fresh.querySelector(part)];
    if (old && next) old.replaceChildren(...next.childNodes);
  }
};

const notify = (number) => {
  if (document.visibilityState === "visible" || Notification.permission !== "granted") return;
  new Notification(tabs.dataset.waits, { body: `${number}`, tag: "mia-waiting" });
};

const look = async () => {
  clearTimeout(timer);
  try {
    const pulse = await (await fetch(tabs.dataset.pulse, { cache: "no-store", redirect: "error" })).json();
    if (waiting !== null && pulse.waiting > waiting) notify(pulse.waiting);
    if (version !== null && pulse.version !== version && !isBusy() && document.visibilityState === "visible") await exchange();
    if (document.visibilityState === "visible" || version === null) version = pulse.version;
    waiting = pulse.waiting;
    failures = 0;
  } catch {
    failures += 1;
  }
  timer = setTimeout(look, Math.min(EVERY_MS * 2 ** failures, LONGEST_MS));
};

document.addEventListener("visibilitychange", look);
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-notify]");
  if (button) Notification.requestPermission().then((answer) => (button.hidden = answer === "granted"));
});
if (window.Notification?.permission === "granted") document.querySelector("[data-notify]")?.setAttribute("hidden", "");
look();
