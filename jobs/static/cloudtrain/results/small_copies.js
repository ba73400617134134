// Small copies of pictures, which the background makes when they are first asked for.

// The background makes a small copy; it is asked for again after so long, then after twice as long, and so on.
const FIRST_RETRY_MS = 700;
const MAX_RETRIES = 6;

document.addEventListener(
  "error",
  ({ target }) => {
    if (!(target instanceof HTMLImageElement) || !target.src.includes("thumbnail=")) return;
    const tries = Number(target.dataset.tries ?? 0);
    if (tries >= MAX_RETRIES) return;
    target.dataset.tries = String(tries + 1);
    const address = new URL(target.src);
    address.searchParams.delete("again");
    const asked = address.toString();
    setTimeout(
      () => {
        const now = new URL(target.src);
        now.searchParams.delete("again");
        // It may show another picture by now.
        if (now.toString() === asked) target.src = asked;
      },
      FIRST_RETRY_MS * 2 ** tries,
    );
  },
  true,
);
