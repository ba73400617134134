// Small menus: `<details class="menu">`, one open at a time, closed by a click elsewhere, by Escape and by leaving it.

/** Close `menu`, if there is one, and leave the keyboard on its button. */
export function closeMenu(menu) {
  if (!menu?.open) return;
  menu.querySelector("summary").focus({ preventScroll: true });
  menu.open = false;
}

const openMenus = () => document.querySelectorAll(".menu[open]");

document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") openMenus().forEach(closeMenu);
});
document.addEventListener("focusout", (event) => {
  const menu = event.target.closest?.(".menu[open]");
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
});
