"""Record docs/drawing.gif: draw a digit on the page of a running `pipeline serve`, and watch the model read it.

pipeline serve --model models:/mnist-gru@champion
python benchmarks/drawing.py http://127.0.0.1:5001 docs/drawing.gif
"""

import io
import shutil
import sys
from collections.abc import Iterator

from PIL import Image
from playwright.sync_api import Page, sync_playwright

STROKES = (
    ((0.30, 0.28), (0.36, 0.20), (0.46, 0.16), (0.58, 0.18), (0.66, 0.27), (0.62, 0.38), (0.52, 0.45), (0.44, 0.48)),
    ((0.44, 0.48), (0.57, 0.50), (0.68, 0.58), (0.69, 0.70), (0.60, 0.80), (0.47, 0.84), (0.35, 0.80), (0.28, 0.72)),
)
"""Points of a 3 on the paper: distance from the left and from the top, 0 to 1."""

SIZE = {"width": 1180, "height": 710}
WIDTH = 880  # of the GIF, in pixels


def frames(page: Page) -> Iterator[tuple[bytes, int]]:
    """Draw, then read; yield screenshots, and the milliseconds for which each is shown."""
    box = page.locator("#paper").bounding_box()
    assert box is not None  # noqa: S101 - the paper is on the page
    yield page.screenshot(), 700
    for stroke in STROKES:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
            page.wait_for_timeout(300)  # until the answer is there and the bars have stopped
            yield page.screenshot(), 110
        page.mouse.up()
    yield page.screenshot(), 1_200
    for step in range(1, 29):
        page.locator("#step").fill(str(step))
        page.wait_for_timeout(200)
        yield page.screenshot(), 110
    yield page.screenshot(), 2_500


def main() -> None:
    """Record the page at an address into a file."""
    address, file = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(address)
        page.locator("[role=meter]").first.wait_for()
        shown, milliseconds = zip(*frames(page), strict=True)
        browser.close()
    pictures = [Image.open(io.BytesIO(each)).convert("RGB") for each in shown]
    height = round(SIZE["height"] * WIDTH / SIZE["width"])
    small = [each.resize((WIDTH, height), Image.Resampling.LANCZOS) for each in pictures]
    palette = small[-len(small) // 3].quantize(160)
    first, *others = (each.quantize(palette=palette, dither=Image.Dither.NONE) for each in small)
    first.save(file, save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)


if __name__ == "__main__":
    main()
