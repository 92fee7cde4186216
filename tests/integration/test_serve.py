"""A real server with its page, drawn on in a real browser, by mouse and by finger."""

import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from pipeline.stages.serve import bound
from tests.integration.conftest import PROJECT, Command, Training, environment, free_port, wait_until_up

JSON = {"Content-Type": "application/json"}

Place = tuple[float, float]  # on the paper, from 0 to 1: from its left, from its top
DIGITS: dict[str, list[Place]] = {
    "0": [(0.5 + 0.18 * np.sin(angle), 0.5 - 0.3 * np.cos(angle)) for angle in np.linspace(0, 2 * np.pi, 24)],
    "1": [(0.52, 0.15), (0.48, 0.85)],
    "7": [(0.25, 0.2), (0.72, 0.2), (0.45, 0.85)],
}


def served(model: str) -> Iterator[str]:
    """Serve a model and return the address; afterwards, end the server as Ctrl-C does."""
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "serve", "--model", model, "--port", str(port)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            wait_until_up(f"http://127.0.0.1:{port}/ping", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=60)[0].decode()
    assert 0 == process.returncode, output
    assert output.splitlines()[-1] == "Stopped."
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def digits_server(digits_run: Training) -> Iterator[str]:
    yield from served(f"runs:/{digits_run.run_id}/model")


@pytest.fixture(scope="module")
def mnist_server(mnist_champion: str) -> Iterator[str]:
    yield from served("models:/mnist@champion")


def test_it_answers_as_mlflows_server_does(digits_server: str, digits_run: Training) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8))
    expected = mlflow.pyfunc.load_model(f"runs:/{digits_run.run_id}/digits-gru").predict(pixels.astype(np.float32))

    answer = requests.post(f"{digits_server}/invocations", json={"inputs": pixels.tolist()}, timeout=60)

    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-5)
    assert 400 == requests.post(f"{digits_server}/invocations", json={"inputs": [[0]]}, timeout=60).status_code


ZEROS = [[[0] * 8] * 8]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "what is not JSON"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "expected one JSON object"),
        (json.dumps({"inputs": [[[True] * 8] * 8]}).encode(), "received bool"),
        (json.dumps({"inputs": [[["12"] * 8] * 8]}).encode(), "received str"),
        (json.dumps({"inputs": ZEROS}).encode().replace(b"0", b"9" * 400, 1), "expected numbers from 0 to 255"),
        (json.dumps({"inputs": [[[256] * 8] * 8]}).encode(), "received numbers from 256 to 256"),
        (json.dumps({"inputs": [[[0.5] * 8] * 7]}).encode(), "of the shape (1, 7, 8)"),
        (json.dumps({"inputs": [[[0] * 8] * 7, [[0] * 8] * 8]}).encode(), "lists of unequal lengths"),
        (json.dumps({"inputs": []}).encode(), "of the shape (0,)"),
        (json.dumps({"inputs": ZEROS * 10_001}).encode(), "expected at most 10,000 in one request, received 10,001"),
    ],
)
def test_what_is_not_images_is_answered_with_400_and_the_server_lives_on(
    digits_server: str, body: bytes, said: str
) -> None:
    refused = requests.post(f"{digits_server}/invocations", data=body, headers=JSON, timeout=60)

    assert 400 == refused.status_code
    assert said in refused.json()["message"]
    assert requests.post(f"{digits_server}/invocations", json={"inputs": ZEROS}, timeout=60).ok


def test_an_answer_is_sent_at_once_and_not_held_back_for_more() -> None:
    """As asyncio does for sockets that name their protocol; else each answer takes as long as a delayed ACK, 40 ms."""
    with bound("127.0.0.1", 0) as listener:
        assert socket.IPPROTO_TCP == listener.proto


def test_a_drawing_is_answered_as_predict_answers_the_picture(
    command: Command, digits_server: str, digits_run: Training, tmp_path: Path
) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 70, 3), np.uint8)).save(tmp_path / "it.png")
    line = command("predict", tmp_path / "it.png", "--model", f"runs:/{digits_run.run_id}/model").output

    content = (tmp_path / "it.png").read_bytes()
    answer = requests.post(f"{digits_server}/drawing", data=content, timeout=60).json()

    assert (8, 8) == np.shape(answer["pixels"])
    assert [str(np.argmax(answer["probabilities"])), f"{max(answer['probabilities']):.2%}"] == line.split()[1:3]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "drawing: expected a picture"),
        (b"hello", 400, "drawing: expected a picture"),
        (bytes(2**24 + 1), 413, "expected at most 16,777,216 bytes"),
    ],
)
def test_what_is_no_drawing_is_refused_and_the_server_lives_on(
    digits_server: str, content: bytes, status: int, said: str
) -> None:
    refused = requests.post(f"{digits_server}/drawing", data=content, timeout=60)

    assert status == refused.status_code
    assert said in refused.json()["message"]
    whole = io.BytesIO()
    Image.new("L", (5, 5)).save(whole, "PNG")
    assert requests.post(f"{digits_server}/drawing", data=whole.getvalue(), timeout=60).ok


def test_an_address_that_is_taken_is_named(digits_run: Training, command: Command, digits_server: str) -> None:
    port = digits_server.rpartition(":")[2]

    result = command("serve", "--model", "models:/any@champion", "--port", port, exit_code=2)

    assert f"port: expected an available address, received 127.0.0.1:{port}" in result.output


def test_a_model_that_is_not_there_is_named(digits_run: Training, command: Command) -> None:
    assert "nobody" in command("serve", "--model", "models:/nobody@champion", "--port", 0, exit_code=1).output


def on_paper(page: Page, place: Place) -> Place:
    box = page.locator("#paper").bounding_box()
    assert box is not None
    return box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]


def draw_by_mouse(page: Page, stroke: Sequence[Place]) -> None:
    page.mouse.move(*on_paper(page, stroke[0]))
    page.mouse.down()
    for place in stroke[1:]:
        page.mouse.move(*on_paper(page, place), steps=8)
    page.mouse.up()


def draw_by_finger(page: Page, stroke: Sequence[Place]) -> None:
    touch = page.context.new_cdp_session(page)
    for kind, place in (("touchStart", stroke[0]), *(("touchMove", place) for place in stroke)):
        x, y = on_paper(page, place)
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def phone(browser: Browser, *, width: int = 390, height: int = 844) -> BrowserContext:
    return browser.new_context(viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)


def opened(browser: BrowserContext | Browser, address: str) -> Page:
    page = browser.new_page()
    page.goto(address)
    expect(page.get_by_role("meter")).to_have_count(10)
    return page


def is_in_view(page: Page, *selectors: str) -> bool:
    """Return whether elements are seen without scrolling, and nothing reaches beyond the side."""
    boxes = [page.locator(selector).bounding_box() for selector in selectors]
    bottoms = [box["y"] + box["height"] for box in boxes if box]
    height, narrow = page.evaluate("[innerHeight, document.documentElement.scrollWidth <= innerWidth]")
    return len(bottoms) == len(selectors) and max(bottoms) <= height and narrow


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("hand", ["mouse", "finger"])
def test_a_drawn_digit_is_read(browser: Browser, mnist_server: str, hand: str, scheme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    context = browser.new_context(color_scheme=scheme, **(phone if hand == "finger" else {}))  # type: ignore[arg-type]
    page = context.new_page()
    problems: list[object] = []

    def failed(error: object) -> None:
        problems.append(error)

    page.on("pageerror", failed)
    page.goto(mnist_server)
    expect(page.get_by_role("meter")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # no scrolling to the side

    for digit, stroke in DIGITS.items():
        (draw_by_mouse if hand == "mouse" else draw_by_finger)(page, stroke)

        expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#answer")).to_have_text(digit)
        bars = page.get_by_role("meter").evaluate_all("all => all.map(one => [one.ariaLabel, +one.ariaValueNow])")
        assert digit == max(bars, key=lambda bar: bar[1])[0]
        assert 0.999 < sum(probability for _, probability in bars) < 1.001
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#answer")).to_have_text("")
        expect(page.get_by_role("meter", name=digit, exact=True)).to_have_attribute("aria-valuenow", "0")

    assert [] == problems
    context.close()


def test_a_server_that_has_gone_is_said_on_the_page(browser: Browser, digits_server: str) -> None:
    page = browser.new_page()
    page.route("**/drawing", lambda route: route.abort())
    page.goto(digits_server)
    expect(page.get_by_role("meter")).to_have_count(10)

    draw_by_mouse(page, DIGITS["1"])

    expect(page.locator("#answer")).to_have_class("problem")
    expect(page.locator("#answer")).to_have_text("The server does not answer.")
    page.close()


def test_what_a_proxy_refuses_is_said_on_the_page(browser: Browser, digits_server: str) -> None:
    page = browser.new_page()
    page.route("**/drawing", lambda route: route.fulfill(status=429, content_type="text/html", body="<p>Too many"))
    page.goto(digits_server)
    expect(page.get_by_role("meter")).to_have_count(10)

    draw_by_mouse(page, DIGITS["1"])

    expect(page.locator("#answer")).to_have_text("The server answers with status 429.")
    page.close()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (360, 600), (740, 360)])
def test_a_phone_shows_where_to_draw_and_the_answer(
    browser: Browser, mnist_server: str, width: int, height: int
) -> None:
    with phone(browser, width=width, height=height) as context:
        page = opened(context, mnist_server)
        expect(page.locator("#hint")).to_be_visible()

        draw_by_finger(page, DIGITS["1"])

        expect(page.locator("#answer")).to_have_text("1")
        expect(page.locator("#hint")).to_be_hidden()
        assert is_in_view(page, "#paper", "#answer")


def test_the_reading_by_step_moves_the_bars_and_a_scan_line(browser: Browser, mnist_server: str) -> None:
    page = opened(browser, mnist_server)
    expect(page.get_by_role("button", name="Watch it read")).to_be_hidden()
    draw_by_mouse(page, DIGITS["7"])
    expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#read")).to_contain_text("After 28 of 28 steps: 7")
    expect(page.locator("#curves polyline")).to_have_count(10)
    expect(page.locator(".paper .scan")).to_be_hidden()
    shown = "() => [...document.querySelectorAll('[role=meter]')].map((meter) => +meter.ariaValueNow)"
    last = page.evaluate(shown)

    slider = page.get_by_role("slider", name="After 28 of 28 steps")
    slider.fill("14")

    expect(page.locator("#read")).to_contain_text("After 14 of 28 steps: ")
    assert last != page.evaluate(shown)
    paper, line = (page.locator(selector).bounding_box() for selector in (".paper", ".paper .scan"))
    assert paper is not None
    assert line is not None
    assert 0.2 < (line["y"] + line["height"] - paper["y"]) / paper["height"] < 0.55  # the digit's upper part is read
    page.get_by_role("button", name="Watch it read").click()
    expect(page.locator("#read")).to_contain_text("After 28 of 28 steps: 7")
    assert last == page.evaluate(shown)
    page.close()


@pytest.mark.parametrize("way", ["chosen", "dropped", "pasted"])
def test_a_picture_is_read(browser: Browser, mnist_server: str, way: str) -> None:
    page, file = opened(browser, mnist_server), PROJECT / "samples" / "photo-of-a-3.jpg"
    before = page.evaluate("paper.toDataURL()")

    if way == "chosen":
        page.get_by_label("Open a picture").set_input_files(file)
    else:
        content = base64.b64encode(file.read_bytes()).decode()
        page.evaluate(
            """([content, way]) => {
                const data = new DataTransfer();
                data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "3.jpg", {type: "image/jpeg"}));
                dispatchEvent(way === "dropped" ? new DragEvent("drop", {dataTransfer: data, cancelable: true}) : new ClipboardEvent("paste", {clipboardData: data}));
            }""",  # noqa: E501
            [content, way],
        )

    expect(page.locator("#answer")).to_contain_text("3")
    assert before != page.evaluate("paper.toDataURL()")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_have_text("")
    page.close()


def test_samples_are_read_and_reached_by_the_keyboard(browser: Browser, mnist_server: str) -> None:
    page = opened(browser, mnist_server)
    for _ in range(3):  # past the file chooser
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Sample 2":
            break

    for digit in "257":
        assert f"Sample {digit}" == page.evaluate("document.activeElement.ariaLabel")
        page.keyboard.press("Enter")
        expect(page.locator("#answer")).to_contain_text(digit)
        page.keyboard.press("Tab")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_what_is_behind_it(browser: Browser, mnist_server: str, scheme: str) -> None:
    """At least 4.5 : 1, as WCAG 2 computes it."""
    with browser.new_context(color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = opened(context, mnist_server)
        page.get_by_role("button", name="Sample 7").click()
        expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
        names = ("--page", "--card", "--ink", "--soft", "--warn")
        colours = page.evaluate(
            "(names) => names.map((name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim())",
            names,
        )
    channels = np.array([[int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in colours])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    for behind in luminance[:2]:
        for text in luminance[2:]:
            assert 4.5 <= (max(behind, text) + 0.05) / (min(behind, text) + 0.05)


@pytest.mark.parametrize("way", ["button", "keys"])
def test_undo_takes_back_one_stroke_and_its_answer(browser: Browser, mnist_server: str, way: str) -> None:
    page = opened(browser, mnist_server)
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_disabled()
    draw_by_mouse(page, DIGITS["7"])
    expect(page.locator("#answer")).to_have_text("7")
    before = page.evaluate("paper.toDataURL()")
    draw_by_mouse(page, [(0.1, 0.9), (0.9, 0.9)])
    assert before != page.evaluate("paper.toDataURL()")

    for answer in ("7", ""):
        undo.click() if way == "button" else page.keyboard.press("Control+z")

        expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#answer")).to_have_text(answer)
        if answer:
            assert before == page.evaluate("paper.toDataURL()")

    expect(undo).to_be_disabled()
    expect(page.locator("#hint")).to_be_visible()
    page.close()


def test_the_page_doubts_crossed_lines(browser: Browser, mnist_server: str) -> None:
    page = opened(browser, mnist_server)

    for stroke in ([(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)], [(0.5, 0.1), (0.5, 0.9)]):
        draw_by_mouse(page, stroke)

    expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#answer")).to_have_text(re.compile(r"This doesn't look like a digit\. Perhaps \d\?"))
    page.close()


@pytest.mark.parametrize(
    ("probability", "certainty", "said"),
    [(0.6, 0.6, "Not sure. Perhaps 3?"), (0.7, 0.7, "3"), (1.0, 1.0, "3"), (0.7, 0.6, "Not sure. Perhaps 3?")],
)
def test_the_page_says_when_the_model_is_not_sure(
    browser: Browser, mnist_server: str, probability: float, certainty: float, said: str
) -> None:
    others = (1 - probability) / 9
    answer = {
        "probabilities": [others] * 3 + [probability] + [others] * 6,
        "certainty": certainty,
        "pixels": np.zeros((28, 28), int).tolist(),
    }
    with phone(browser) as context:
        page = context.new_page()
        page.route("**/drawing", lambda route: route.fulfill(json=answer))
        page.goto(mnist_server)
        expect(page.get_by_role("meter")).to_have_count(10)

        draw_by_finger(page, DIGITS["1"])

        expect(page.locator("#answer")).to_have_text(said)
        heights = page.locator("li > span:last-child").evaluate_all("all => all.map(one => one.clientHeight)")
        assert 1 == len(set(heights))  # 100.0 % takes one line, as 0.0 % does


@pytest.fixture(scope="module")
def gestures_server(forward_model: str) -> Iterator[str]:
    yield from served(forward_model)


@pytest.mark.parametrize("way", ["typed", "chosen", "dropped", "pasted", "sample"])
def test_a_sequence_is_plotted_with_the_answer_after_each_step(
    browser: Browser, gestures_server: str, tmp_path: Path, way: str
) -> None:
    steps = [f"{x / 4},{-x / 4}" for x in range(-12, 13)]
    file = tmp_path / "rises.csv"
    file.write_text("\n".join(["x,y", *steps]))
    page = browser.new_page()
    problems: list[object] = []

    def failed(error: object) -> None:
        problems.append(error)

    page.on("pageerror", failed)
    page.goto(gestures_server)
    expect(page.get_by_role("meter")).to_have_count(3)

    if way == "typed":
        page.get_by_role("textbox").fill(file.read_text())
    elif way == "chosen":
        page.get_by_label("Open a CSV file").set_input_files(file)
    elif way == "sample":
        page.get_by_role("button", name="Try a sample").click()
    else:
        page.evaluate(
            """([content, way]) => {
                const data = new DataTransfer();
                if (way === "dropped") data.items.add(new File([content], "rises.csv", {type: "text/csv"}));
                else data.setData("text", content);
                dispatchEvent(way === "dropped" ? new DragEvent("drop", {dataTransfer: data, cancelable: true}) : new ClipboardEvent("paste", {clipboardData: data}));
            }""",  # noqa: E501
            [file.read_text(), way],
        )

    expect(page.locator("#plot polyline")).to_have_count(2)
    expect(page.locator("#curves polyline")).to_have_count(3)
    if way != "sample":
        expect(page.locator("#answer")).to_contain_text("rises")
        expect(page.locator("#read")).to_contain_text("After 25 of 25 steps: rises")
        page.get_by_role("slider").fill("5")
        expect(page.locator("#read")).to_contain_text("After 5 of 25 steps: ")
        expect(page.locator("#plot line")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_have_text("")
    expect(page.locator("#plot polyline")).to_have_count(0)
    assert [] == problems
    page.close()


def test_what_is_not_a_sequence_is_explained_on_the_page(browser: Browser, gestures_server: str) -> None:
    page = browser.new_page()
    page.goto(gestures_server)
    page.get_by_role("textbox").fill("1,2\n3")
    expect(page.locator("#answer")).to_contain_text(
        "expected a line of 2 numbers for each step, received '3' for step 2"
    )
    page.close()


def test_of_a_model_that_reads_both_ways_the_page_shows_the_final_answer(
    browser: Browser, gestures_server: str
) -> None:
    page = browser.new_page()
    said = {"probabilities": [0.1, 0.1, 0.8], "certainty": 0.8, "by_step": None, "sequence": [[1, 2], [3, 4]]}
    page.route("**/sequence", lambda route: route.fulfill(json=said))
    page.goto(gestures_server)
    page.get_by_role("textbox").fill("1,2\n3,4")
    expect(page.locator("#answer")).to_have_text("rises")
    expect(page.locator("#plot polyline")).to_have_count(2)
    expect(page.locator("#reading")).to_be_hidden()
    page.close()
