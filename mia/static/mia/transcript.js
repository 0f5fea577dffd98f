// Follows an open conversation: asks for what changed, and exchanges only those parts of the page.
const page = document.getElementById("conversation");
const QUICK_MS = 1000;
const CALM_MS = 3000;
const LONGEST_MS = 30000;
const TYPING_EVERY_MS = 3000;
let etag = page.dataset.etag;
let failures = 0;
let timer = null;

const part = (root, name) => root.querySelector(`[data-part="${name}"]`);
const card = page.firstElementChild;
const isAtEnd = () => card.getBoundingClientRect().bottom <= innerHeight + 120;
const goToEnd = () => card.getBoundingClientRect().bottom > innerHeight && card.scrollIntoView({ block: "end" });

const exchange = (name, fresh) => {
  const [old, next] = [part(page, name), part(fresh, name)];
  if (old && next && old.dataset.version !== next.dataset.version && !old.querySelector(":popover-open")) old.replaceWith(next);
};

const exchangeLines = (fresh) => {
  const lines = part(page, "lines");
  const next = [...part(fresh, "lines").children];
  const known = new Map([...lines.children].map((line) => [line.dataset.line, line]));
  const kept = next.map((line) => {
    const old = known.get(line.dataset.line);
    return old?.dataset.version === line.dataset.version ? old : line;
  });
  kept.forEach((line, place) => lines.children[place] !== line && lines.insertBefore(line, lines.children[place] ?? null));
  while (lines.children.length > kept.length) lines.lastElementChild.remove();
};

const show = (html) => {
  const wasAtEnd = isAtEnd();
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  exchange("state", fresh);
  exchange("composer", fresh);
  exchangeLines(fresh);
  if (wasAtEnd) goToEnd();
};

const refresh = async () => {
  clearTimeout(timer);
  if (document.visibilityState === "hidden") return;
  try {
    const response = await fetch(page.dataset.address, { headers: { "If-None-Match": etag }, redirect: "error", cache: "no-store" });
    if (response.status === 200) {
      etag = response.headers.get("ETag");
      show(await response.text());
    } else if (response.status === 403 || response.status === 404) {
      return;
    }
    failures = 0;
  } catch {
    failures += 1;
  }
  const isWriting = page.querySelector('[data-line="writing"]') !== null;
  timer = setTimeout(refresh, Math.min((isWriting ? QUICK_MS : CALM_MS) * 2 ** failures, LONGEST_MS));
};

const send = async (form) => {
  const [field, button] = [form.elements.message, form.querySelector("button")];
  const refusal = page.querySelector("[data-refusal]");
  button.disabled = true;
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "X-Requested-With": "fetch" } });
    refusal.hidden = response.ok;
    if (response.ok) field.value = "";
    else refusal.textContent = response.status < 500 ? await response.text() : "It could not be sent. Try again.";
  } catch {
    refusal.hidden = false;
    refusal.textContent = "It could not be sent: the connection is lost.";
  } finally {
    button.disabled = false;
    field.focus();
  }
  await refresh();
};

let typedAt = 0;
const tellTyping = (form) => {
  if (Date.now() - typedAt < TYPING_EVERY_MS) return;
  typedAt = Date.now();
  fetch(page.dataset.typing, { method: "POST", headers: { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value } }).catch(() => {});
};

page.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-composer]")) return;
  event.preventDefault();
  send(event.target);
});
page.addEventListener("input", (event) => event.target.matches("[data-composer] textarea") && tellTyping(event.target.form));
page.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("[data-composer] textarea")) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});
document.addEventListener("visibilitychange", refresh);
goToEnd();
timer = setTimeout(refresh, QUICK_MS);
