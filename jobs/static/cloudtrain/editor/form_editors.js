// Editors in a form that is sent as it is.

import { configEditor } from "./config_editor.js";

for (const box of document.querySelectorAll(".editor-box")) {
  const editor = configEditor(box);
  // What it holds is put into its textarea by then.
  box.closest("form").addEventListener("submit", () => editor.read(), { capture: true });
}
