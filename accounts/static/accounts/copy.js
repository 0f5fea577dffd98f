// Copy buttons: `data-copy` names the element whose text goes to the clipboard.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = button.dataset.done;
  } catch {
    // No clipboard without HTTPS: select the text, so that the keyboard can copy it.
    getSelection().selectAllChildren(source);
  }
});
