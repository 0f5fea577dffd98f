// The agent's tools on the page of a conversation: canned replies by "/", drafts and summaries by the AI, shortcuts.
const page = document.getElementById("conversation");
const LOOK_EVERY_MS = 700;
const LOOK_FOR_MS = 60000;
let replies = null;
let chosen = 0;

const field = () => page.querySelector("[data-composer] textarea");
const list = () => page.querySelector("[data-canned]");
const token = () => document.querySelector("[name=csrfmiddlewaretoken]").value;

const load = async () => {
  replies ??= fetch(page.dataset.canned).then((response) => (response.ok ? response.json() : { replies: [] }));
  return (await replies).replies;
};

const wanted = () => field()?.value.slice(0, field().selectionStart).match(/(?:^|\s)\/([a-z0-9_-]*)$/)?.[1];

const put = (text) => {
  const [box, shortcut] = [field(), wanted()];
  const end = box.selectionStart;
  box.setRangeText(text, end - shortcut.length - 1, end, "end");
  list().hidden = true;
  box.focus();
};

const offer = async () => {
  const shortcut = wanted();
  const box = list();
  if (!box || shortcut === undefined) return box && (box.hidden = true);
  const found = (await load()).filter((one) => one.shortcut.startsWith(shortcut)).slice(0, 8);
  chosen = 0;
  box.replaceChildren(...found.map((one, place) => {
    const item = document.createElement("li");
    item.role = "option";
    item.className = "mia-link";
    item.ariaSelected = String(place === chosen);
    item.textContent = `/${one.shortcut} ${one.title}`;
    item.dataset.text = one.text;
    item.addEventListener("mousedown", (event) => { event.preventDefault(); put(one.text); });
    return item;
  }));
  box.hidden = found.length === 0;
};

const move = (step) => {
  const items = [...list().children];
  chosen = (chosen + step + items.length) % items.length;
  items.forEach((item, place) => (item.ariaSelected = String(place === chosen)));
};

const write = async (wish, button, box, refusal) => {
  button.disabled = true;
  refusal.hidden = true;
  const say = (text) => { refusal.hidden = false; refusal.textContent = text; };
  try {
    const body = new URLSearchParams({ wish, csrfmiddlewaretoken: token() });
    const asked = await fetch(page.dataset.draft, { method: "POST", body, headers: { "X-Requested-With": "fetch" } });
    if (!asked.ok) return say(asked.status < 500 || asked.status === 503 ? await asked.text() : "It could not be written.");
    const { job_id: job } = await asked.json();
    for (const until = Date.now() + LOOK_FOR_MS; Date.now() < until; ) {
      await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
      const draft = await (await fetch(`${page.dataset.draft}${job}/`, { cache: "no-store" })).json();
      if (!draft.is_over) continue;
      if (!draft.text) return say("No text could be written. Try again.");
      box.value = box.value ? `${box.value}\n${draft.text}` : draft.text;
      return box.focus();
    }
    say("It takes too long. Try again.");
  } catch {
    say("The connection is lost.");
  } finally {
    button.disabled = false;
  }
};

page.addEventListener("input", (event) => event.target === field() && offer());
page.addEventListener("keydown", (event) => {
  if (event.target !== field() || list().hidden) return;
  const keys = { ArrowDown: () => move(1), ArrowUp: () => move(-1), Escape: () => (list().hidden = true) };
  keys.Enter = keys.Tab = () => put(list().children[chosen].dataset.text);
  if (!(event.key in keys) || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  keys[event.key]();
}, true);
page.addEventListener("click", (event) => {
  const draft = event.target.closest("[data-draft]:not(#conversation)");
  const summary = event.target.closest("[data-summary]");
  if (draft) write("draft", draft, field(), page.querySelector("[data-refusal]"));
  if (summary) write("summary", summary, page.querySelector("[data-note]"), page.querySelector("[data-summary-refusal]"));
});
document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey) return;
  const acts = { r: () => field()?.focus(), n: () => page.querySelector("[data-note]")?.focus(), d: () => page.querySelector("[data-composer] [data-draft]")?.click() };
  const act = acts[event.key.toLowerCase()];
  if (act) { event.preventDefault(); act(); }
});
