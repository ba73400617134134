// Small copies of pictures, which the background makes when they are first asked for.

// The background makes a small copy; it is asked for again after so long, then after twice as long, and so on.
const FIRST_RETRY_MS = 400;
const MAX_RETRIES = 7;

function askAgain(image) {
  const tries = Number(image.dataset.tries ?? 0);
  if (!image.src.includes("thumbnail=") || tries >= MAX_RETRIES) return;
  image.dataset.tries = String(tries + 1);
  const asked = image.src;
  setTimeout(
    () => {
      // It may show another picture by now.
      if (image.src === asked) image.src = asked;
    },
    FIRST_RETRY_MS * 2 ** tries,
  );
}

document.addEventListener("error", ({ target }) => target instanceof HTMLImageElement && askAgain(target), true);
// Pictures may have failed before this script ran.
for (const image of document.images) if (image.complete && !image.naturalWidth) askAgain(image);
