// Says under each long field of a bot how much is in it, and when the facts are more than the model can read at once.
const TOKENS_PER_WORD = 1.35;
const RESERVED_TOKENS = 400;
const number = new Intl.NumberFormat("en");
const valueOf = (name, otherwise) => Number(document.getElementById(`id_${name}`)?.value) || otherwise;

const count = (field, line) => {
  const words = field.value.trim().split(/\s+/).filter(Boolean).length;
  const tokens = Math.max(Math.round(words * TOKENS_PER_WORD), Math.round(field.value.length / 4.5));
  const room = valueOf("max_context_tokens", 8192) - valueOf("max_tokens", 512) - RESERVED_TOKENS;
  const isTooLong = field.dataset.counted === "facts" && tokens > room;
  line.textContent = `${number.format(words)} ${words === 1 ? "word" : "words"}, about ${number.format(tokens)} tokens`;
  if (field.dataset.counted === "facts" && words === 0) line.textContent = "Nothing yet: it will answer that it does not know.";
  if (isTooLong) line.textContent += `. More than the ${number.format(room)} it can read at once: what stands last is left out.`;
  line.style.color = isTooLong ? "var(--mia-bad)" : "";
};

for (const field of document.querySelectorAll("textarea[data-counted]")) {
  const line = document.createElement("p");
  line.className = "mia-small mia-soft";
  line.setAttribute("aria-live", "polite");
  field.after(line);
  const update = () => count(field, line);
  field.addEventListener("input", update);
  for (const name of ["max_tokens", "max_context_tokens"]) document.getElementById(`id_${name}`)?.addEventListener("input", update);
  update();
}
