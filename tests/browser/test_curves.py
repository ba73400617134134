"""The curves on a job's page in a real browser: with a mouse, with two fingers, with keys."""

from __future__ import annotations

import csv
import math

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Browse, is_wider_than_the_window, keep, sticking_out, violations
from tests.browser.job_pages import Training, opened, training, write_more
from tests.wait import wait_until

__all__ = ["training"]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


def line(step: int, loss: object = None) -> str:
    value = f"{0.9 * math.exp(-step / 160) + 0.05 + 0.03 * math.sin(step * 1.7):.4f}" if loss is None else loss
    clock = f"{step * 2 // 60:02}:{step * 2 % 60:02}"
    return (
        f"Steps: 1%|#| {step}/500 [{clock}<10:00, 2.00s/it, step_loss={value}, lr={1e-4 * min(1, step / 100):.6f}, "
        f"grad_norm={0.4 + 0.1 * math.cos(step):.3f}, vram=21.{step % 7}GB]\n"
    )


LOG = "".join(line(step, "nan" if 200 <= step < 240 else None) for step in range(1, 401))
FIGURES = ["Loss", "Learning rate", "Gradient norm", "Steps a second", "Video memory, GB"]


def charts(page: Page) -> Locator:
    return page.locator("#plots figure")


def chart(page: Page, name: str) -> Locator:
    return page.locator("#plots figure", has=page.locator("strong", has_text=name))


def readout(page: Page, name: str) -> Locator:
    return chart(page, name).locator(".readout")


def opened_curves(page: Page, training: Training, log: str = LOG) -> Page:
    opened(page, training(log=log)[0])
    expect(charts(page).first.locator("canvas")).to_be_visible()
    return page


def drag(page: Page, plot: Locator, start: float, end: float) -> None:
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 50, steps=5)
    page.mouse.up()


def test_every_figure_has_a_chart_and_a_row_of_numbers(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(browse(alice, "about:blank", viewport={"width": 1280, "height": 900}), training)
    assert charts(page).locator("strong").all_text_contents() == FIGURES
    rows = page.locator("#numbers tr")
    assert rows.locator("th").count() == len(FIGURES)
    expect(rows.first).to_contain_text("NaN or infinite at steps 200–239.")
    expect(rows.first).to_contain_text("step 400")
    expect(chart(page, "Loss").locator(".chart-note")).to_have_text("NaN or infinite at steps 200–239.")
    expect(chart(page, "Loss").get_by_role("group")).to_have_attribute(
        "aria-label", "Loss from 0.9741 to 0.1535, lowest 0.0973"
    )
    keep(page, "curves-light")
    assert violations(page) == []


def test_one_pointer_shows_the_values_of_all_charts(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(browse(alice, "about:blank"), training)
    chart(page, "Loss").locator(".u-over").hover(position={"x": 60, "y": 40})
    expect(readout(page, "Loss")).to_contain_text("step ")
    place = (readout(page, "Loss").text_content() or "").partition(":")[0]
    for name in FIGURES:
        expect(readout(page, name)).to_contain_text(f"{place}: ")
    page.get_by_label("By time").check()
    chart(page, "Loss").locator(".u-over").hover()
    expect(readout(page, "Gradient norm")).to_contain_text(" min: ")


def test_a_part_is_zoomed_into_and_left_again(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(browse(alice, "about:blank"), training)
    everything = page.get_by_role("button", name="Show all")
    expect(everything).to_be_hidden()
    drag(page, chart(page, "Loss").locator(".u-over"), 0.5, 0.75)
    expect(everything).to_be_visible()
    chart(page, "Gradient norm").locator(".plot").focus()

    def is_at_its_first_step() -> bool:
        page.keyboard.press("Home")
        return "step 20" in readout(page, "Gradient norm").inner_text()

    # The other charts are drawn anew a moment after the zoom, which forgets where their cursors were.
    wait_until(is_at_its_first_step)
    everything.click()
    expect(everything).to_be_hidden()
    page.get_by_role("button", name="Zoom in").click()
    expect(everything).to_be_visible()
    page.get_by_role("button", name="Zoom out").click()
    expect(everything).to_be_hidden()


def test_keys_walk_along_the_curves_and_zoom(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(browse(alice, "about:blank"), training)
    chart(page, "Loss").locator(".plot").focus()
    page.keyboard.press("End")
    expect(readout(page, "Loss")).to_have_text("step 400: 0.1535")
    expect(readout(page, "Learning rate")).to_have_text("step 400: 1e-4")
    page.keyboard.press("ArrowLeft")
    expect(readout(page, "Loss")).to_contain_text("step 399: ")
    page.keyboard.press("Control+ArrowLeft")
    expect(readout(page, "Loss")).to_contain_text("step 389: ")
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Home")
    expect(readout(page, "Loss")).not_to_contain_text("step 1:")
    page.keyboard.press("0")
    page.keyboard.press("Home")
    expect(readout(page, "Loss")).to_contain_text("step 1: ")


def test_smoothing_logarithm_and_full_width(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(browse(alice, "about:blank", viewport={"width": 1280, "height": 900}), training)
    page.get_by_label("Smoothing").fill("0.9")
    expect(page.locator("[data-chart=smoothing-value]")).to_have_text("0.9")
    chart(page, "Loss").locator(".plot").focus()
    page.keyboard.press("End")
    expect(readout(page, "Loss")).not_to_have_text("step 400: 0.1535")
    page.get_by_label("Logarithm").check()
    page.get_by_role("button", name="Full width").click()
    box = chart(page, "Loss").bounding_box()
    assert box and box["width"] > 1000
    keep(page, "curves-wide")
    expect(page.get_by_role("button", name="Full width")).to_have_attribute("aria-pressed", "true")


def test_a_logarithm_says_what_it_cannot_draw(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(
        browse(alice, "about:blank"), training, "step 1/9 loss: 0\nstep 2/9 loss: 1\nstep 3/9 loss: 2\n"
    )
    expect(page.get_by_label("By time")).to_be_disabled()
    page.get_by_label("Logarithm").check()
    expect(chart(page, "Loss").locator(".chart-note")).to_have_text(
        "1 of the values is 0 or less and has no logarithm."
    )


def test_they_grow_with_the_log_and_keep_the_zoom(browse: Browse, alice: User, training: Training) -> None:
    job, path = training(log=LOG)
    page = browse(alice, "about:blank")
    page.clock.install()
    opened(page, job)
    expect(charts(page).first.locator("canvas")).to_be_visible()
    drag(page, chart(page, "Loss").locator(".u-over"), 0.5, 0.75)
    write_more(path, line(401) + line(402).replace("vram=", "kl_loss=0.5, vram="))
    page.clock.fast_forward(6_000)
    page.clock.fast_forward(11_000)
    expect(page.locator("#numbers")).to_contain_text("step 402")
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    expect(chart(page, "kl_loss")).to_be_visible()


def test_on_a_phone_two_fingers_zoom(browse: Browse, alice: User, training: Training) -> None:
    page = browse(alice, "about:blank", viewport={"width": 390, "height": 800}, has_touch=True, color_scheme="dark")
    opened_curves(page, training)
    keep(page, "curves-phone-dark")
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []
    assert violations(page) == []
    over = chart(page, "Loss").locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    x, y, width = box["x"], box["y"] + 60, box["width"]
    touches = page.context.new_cdp_session(page)

    def touch(kind: str, *positions: float) -> None:
        points = [{"x": x + width * position, "y": y, "id": number} for number, position in enumerate(positions)]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.4)
    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.3, 0.7)
    touch("touchMove", 0.2, 0.8)
    touch("touchEnd")
    expect(page.get_by_role("button", name="Show all")).to_be_visible()


def test_they_are_downloaded_as_a_table(browse: Browse, alice: User, training: Training) -> None:
    page = opened_curves(browse(alice, "about:blank"), training)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of the curves").click()
    with open(download.value.path()) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400
    assert (rows[-1]["step"], rows[-1]["seconds"], rows[-1]["loss"]) == ("400", "800.0", "0.1535")
    assert rows[199]["loss"] == "nan"
