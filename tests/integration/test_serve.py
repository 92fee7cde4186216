"""A real server and its page in a real browser, with drawings by mouse and by finger."""

import base64
import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pipeline.serving.server import bound
from tests.integration.conftest import PROJECT, Command, begin
from tests.servers import free_port, wait_until_up

Place = tuple[float, float]  # distance from the left and from the top of the paper, 0 to 1
DIGITS: dict[str, list[Place]] = {
    "0": [(0.5 + 0.18 * np.sin(angle), 0.5 - 0.3 * np.cos(angle)) for angle in np.linspace(0, 2 * np.pi, 24)],
    "1": [(0.52, 0.15), (0.48, 0.85)],
    "7": [(0.25, 0.2), (0.72, 0.2), (0.45, 0.85)],
}


def served(model: str) -> Iterator[str]:
    """Serve a model and yield the address; then end the server with the signal of Ctrl-C."""
    port = free_port()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with begin("serve", "--model", model, "--port", port, **pipes) as process:
        try:
            wait_until_up(f"http://127.0.0.1:{port}/ping", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=60)[0]
    assert 0 == process.returncode, output
    assert output.splitlines()[-1] == "Stopped."
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def server(mnist_champion: str) -> Iterator[str]:
    yield from served("models:/mnist@champion")


@pytest.fixture(scope="module")
def gestures_server(forward_model: str) -> Iterator[str]:
    yield from served(forward_model)


ZEROS = np.zeros((1, 28, 28), int).tolist()


def test_it_answers_as_mlflows_server_does(server: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 28, 28))
    expected = mlflow.pyfunc.load_model("models:/mnist@champion").predict(pixels.astype(np.float32))

    answer = requests.post(f"{server}/invocations", json={"inputs": pixels.tolist()}, timeout=60)

    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("invocations", b"{", 400, "this is not JSON"),
        ("invocations", b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "must be one JSON object"),
        ("invocations", [[[True] * 28] * 28], 400, "got bool"),
        ("invocations", [[["12"] * 28] * 28], 400, "got str"),
        ("invocations", [[[10**400] * 28] * 28], 400, "numbers from 0 to 255"),
        ("invocations", [[[256] * 28] * 28], 400, "such as 256."),
        ("invocations", [[[0.5] * 28] * 27], 400, "of the shape (1, 27, 28)"),
        ("invocations", [[[0] * 28] * 27, [[0] * 28] * 28], 400, "lists of unequal lengths"),
        ("invocations", [], 400, "of the shape (0,)"),
        ("drawing", b"", 400, "drawing: must be a picture"),
        ("drawing", b"hello", 400, "drawing: must be a picture"),
        ("drawing", bytes(2**24 + 1), 413, "must have at most 16,777,216 bytes"),
    ],
)
def test_bad_requests_are_refused_and_the_server_still_answers(
    server: str, path: str, body: object, status: int, said: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps({"inputs": body}).encode()
    headers = {"Content-Type": "application/json"} if path == "invocations" else {}
    refused = requests.post(f"{server}/{path}", data=content, headers=headers, timeout=60)

    assert status == refused.status_code
    assert said in refused.json()["message"]
    assert requests.post(f"{server}/invocations", json={"inputs": ZEROS}, timeout=60).ok


def test_an_answer_is_sent_immediately_and_not_held_back_for_more() -> None:
    """asyncio does this for sockets that name their protocol; otherwise each answer waits 40 ms for a delayed ACK."""
    with bound("127.0.0.1", 0) as listener:
        assert socket.IPPROTO_TCP == listener.proto


def test_a_drawing_is_answered_as_predict_answers_the_picture(command: Command, server: str, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 70, 3), np.uint8)).save(tmp_path / "it.png")
    line = command("predict", tmp_path / "it.png", "--model", "models:/mnist@champion").output

    answer = requests.post(f"{server}/drawing", data=(tmp_path / "it.png").read_bytes(), timeout=60).json()

    assert (28, 28) == np.shape(answer["pixels"])
    assert [str(np.argmax(answer["probabilities"])), f"{max(answer['probabilities']):.2%}"] == line.split()[1:3]


def test_an_address_that_is_taken_and_a_model_that_is_not_there_are_named(command: Command, server: str) -> None:
    port = server.rpartition(":")[2]
    taken = command("serve", "--model", "models:/any@champion", "--port", port, exit_code=2)
    assert f"port: 127.0.0.1:{port} is not available" in taken.output
    assert "nobody" in command("serve", "--model", "models:/nobody@champion", "--port", 0, exit_code=1).output


# --- the page, in a browser -----------------------------------------------------------------------------------------


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


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open a page with the options in the parameter of the test; it must have no error."""
    context = browser.new_context(**getattr(request, "param", {}))
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert [] == problems


def phone(width: int, height: int) -> dict[str, Any]:
    return {"viewport": {"width": width, "height": height}, "has_touch": True, "is_mobile": True}


def visit(page: Page, address: str, classes: int = 10) -> None:
    page.goto(address)
    expect(page.get_by_role("meter")).to_have_count(classes)


def is_in_view(page: Page, *selectors: str) -> bool:
    """Return whether elements are visible without scrolling, and nothing is wider than the window."""
    boxes = [page.locator(selector).bounding_box() for selector in selectors]
    bottoms = [box["y"] + box["height"] for box in boxes if box]
    height, narrow = page.evaluate("[innerHeight, document.documentElement.scrollWidth <= innerWidth]")
    return len(bottoms) == len(selectors) and max(bottoms) <= height and narrow


@pytest.mark.parametrize(
    "page", [{"color_scheme": "dark"}, phone(390, 844), phone(360, 600), phone(740, 360)], indirect=True
)
def test_a_drawn_digit_is_read_and_a_phone_shows_where_to_draw_and_the_answer(page: Page, server: str) -> None:
    visit(page, server)
    expect(page.locator("#hint")).to_be_visible()
    is_phone = page.evaluate("navigator.maxTouchPoints") > 0

    for digit, stroke in DIGITS.items():
        (draw_by_finger if is_phone else draw_by_mouse)(page, stroke)

        expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#answer")).to_have_text(digit)
        expect(page.locator("#hint")).to_be_hidden()
        assert is_in_view(page, *(["#paper", "#answer"] if is_phone else ["#paper"]))
        bars = page.get_by_role("meter").evaluate_all("all => all.map(one => [one.ariaLabel, +one.ariaValueNow])")
        assert digit == max(bars, key=lambda bar: bar[1])[0]
        assert 0.999 < sum(probability for _, probability in bars) < 1.001
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#answer")).to_have_text("")
        expect(page.get_by_role("meter", name=digit, exact=True)).to_have_attribute("aria-valuenow", "0")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "The server does not answer."),
        ({"status": 429, "content_type": "text/html", "body": "<p>Too many"}, "The server answers with status 429."),
    ],
)
def test_a_server_that_has_gone_or_a_proxy_that_refuses_is_said_on_the_page(
    page: Page, server: str, answer: dict[str, Any] | None, said: str
) -> None:
    page.route("**/drawing", lambda route: route.fulfill(**answer) if answer else route.abort())
    visit(page, server)

    draw_by_mouse(page, DIGITS["1"])

    expect(page.locator("#answer")).to_have_class("problem")
    expect(page.locator("#answer")).to_have_text(said)


def test_the_reading_by_step_moves_the_bars_and_a_scan_line(page: Page, server: str) -> None:
    visit(page, server)
    expect(page.get_by_role("button", name="Watch it read")).to_be_hidden()
    draw_by_mouse(page, DIGITS["7"])
    expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#read")).to_contain_text("After 28 of 28 steps: 7")
    expect(page.locator("#curves polyline")).to_have_count(10)
    expect(page.locator(".paper .scan")).to_be_hidden()
    shown = "() => [...document.querySelectorAll('[role=meter]')].map((meter) => +meter.ariaValueNow)"
    last = page.evaluate(shown)

    page.get_by_role("slider", name="After 28 of 28 steps").fill("14")

    expect(page.locator("#read")).to_contain_text("After 14 of 28 steps: ")
    assert last != page.evaluate(shown)
    paper, line = (page.locator(selector).bounding_box() for selector in (".paper", ".paper .scan"))
    assert paper is not None
    assert line is not None
    assert 0.2 < (line["y"] + line["height"] - paper["y"]) / paper["height"] < 0.55  # the upper part is read
    page.get_by_role("button", name="Watch it read").click()
    expect(page.locator("#read")).to_contain_text("After 28 of 28 steps: 7")
    assert last == page.evaluate(shown)


GIVE = """([content, way, type]) => {
    const data = new DataTransfer();
    if (way === "pasted" && type === "text/csv") data.setData("text", atob(content));
    else data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "it", {type}));
    if (way === "dropped") dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
    else dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
}"""


def give(page: Page, way: str, file: Path, *, chooser: str, kind: str) -> None:
    """Choose a file, drop it, or paste its content."""
    if way == "chosen":
        page.get_by_label(chooser).set_input_files(file)
    else:
        page.evaluate(GIVE, [base64.b64encode(file.read_bytes()).decode(), way, kind])


@pytest.mark.parametrize("way", ["chosen", "dropped", "pasted"])
def test_a_picture_is_read(page: Page, server: str, way: str) -> None:
    visit(page, server)
    before = page.evaluate("paper.toDataURL()")

    give(page, way, PROJECT / "samples" / "photo-of-a-3.jpg", chooser="Open a picture", kind="image/jpeg")

    expect(page.locator("#answer")).to_contain_text("3")
    assert before != page.evaluate("paper.toDataURL()")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_have_text("")


def test_samples_are_read_and_reached_by_the_keyboard(page: Page, server: str) -> None:
    visit(page, server)
    for _ in range(3):  # to skip the file chooser
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Sample 2":
            break

    for digit in "257":
        assert f"Sample {digit}" == page.evaluate("document.activeElement.ariaLabel")
        page.keyboard.press("Enter")
        expect(page.locator("#answer")).to_contain_text(digit)
        page.keyboard.press("Tab")


@pytest.mark.parametrize("page", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True)
def test_text_has_enough_contrast(page: Page, server: str) -> None:
    """The contrast is at least 4.5 : 1 by the formula of WCAG 2."""
    visit(page, server)
    names = ["--page", "--card", "--ink", "--soft", "--warn"]
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
def test_undo_takes_back_one_stroke_and_its_answer(page: Page, server: str, way: str) -> None:
    visit(page, server)
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


def test_the_page_doubts_crossed_lines(page: Page, server: str) -> None:
    visit(page, server)

    for stroke in ([(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)], [(0.5, 0.1), (0.5, 0.9)]):
        draw_by_mouse(page, stroke)

    expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#answer")).to_have_text(re.compile(r"This doesn't look like a digit\. Perhaps \d\?"))


@pytest.mark.parametrize("page", [phone(390, 844)], indirect=True)
@pytest.mark.parametrize(
    ("probability", "certainty", "said"),
    [(0.6, 0.6, "Not sure. Perhaps 3?"), (0.7, 0.7, "3"), (1.0, 1.0, "3"), (0.7, 0.6, "Not sure. Perhaps 3?")],
)
def test_the_page_says_when_the_model_is_not_sure(
    page: Page, server: str, probability: float, certainty: float, said: str
) -> None:
    others = [(1 - probability) / 9]
    answer = {"probabilities": others * 3 + [probability] + others * 6, "certainty": certainty, "pixels": ZEROS[0]}
    page.route("**/drawing", lambda route: route.fulfill(json=answer))
    visit(page, server)

    draw_by_finger(page, DIGITS["1"])

    expect(page.locator("#answer")).to_have_text(said)
    heights = page.locator("li > span:last-child").evaluate_all("all => all.map(one => one.clientHeight)")
    assert 1 == len(set(heights))  # 100.0 % needs one line, like 0.0 %


@pytest.mark.parametrize("way", ["typed", "chosen", "dropped", "pasted", "sample"])
def test_a_sequence_is_plotted_with_the_answer_after_each_step(
    page: Page, gestures_server: str, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "rises.csv"
    file.write_text("\n".join(["x,y", *(f"{x / 4},{-x / 4}" for x in range(-12, 13))]))
    visit(page, gestures_server, 3)

    if way == "typed":
        page.get_by_role("textbox").fill(file.read_text())
    elif way == "sample":
        page.get_by_role("button", name="Try a sample").click()
    else:
        give(page, way, file, chooser="Open a CSV file", kind="text/csv")

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


def test_a_bad_sequence_is_explained_and_without_answers_by_step_the_page_shows_the_final_one(
    page: Page, gestures_server: str
) -> None:
    visit(page, gestures_server, 3)
    page.get_by_role("textbox").fill("1,2\n3")
    said = "needs a line of 2 numbers for each step; step 2 differs"
    expect(page.locator("#answer")).to_contain_text(said)

    final = {"probabilities": [0.1, 0.1, 0.8], "certainty": 0.8, "by_step": None, "sequence": [[1, 2], [3, 4]]}
    page.route("**/sequence", lambda route: route.fulfill(json=final))  # of a bidirectional model
    page.get_by_role("textbox").fill("1,2\n3,4")
    expect(page.locator("#answer")).to_have_text("rises")
    expect(page.locator("#plot polyline")).to_have_count(2)
    expect(page.locator("#reading")).to_be_hidden()
