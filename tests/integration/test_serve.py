"""A real server and its page in a real browser, with drawings by mouse and by finger."""

import base64
import json
import signal
import socket
import sys
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
from tests.integration.conftest import PROJECT, Command
from tests.servers import free_port, running, wait_until_up

Place = tuple[float, float]  # distance from the left and from the top of the paper, 0 to 1
DIGITS: dict[str, list[Place]] = {
    "0": [(0.5 + 0.18 * np.sin(angle), 0.5 - 0.3 * np.cos(angle)) for angle in np.linspace(0, 2 * np.pi, 24)],
    "1": [(0.52, 0.15), (0.48, 0.85)],
    "7": [(0.25, 0.2), (0.72, 0.2), (0.45, 0.85)],
}


def served(model: str, folder: Path) -> Iterator[str]:
    """Serve a model and yield the address; then end the server with the signal of Ctrl-C."""
    port, log = free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "pipeline", "serve", "--model", model, "--port", str(port)]
    with running(command, log, {}, signal.SIGINT) as process:
        wait_until_up(f"http://127.0.0.1:{port}/ping", process)
        yield f"http://127.0.0.1:{port}"
    output = log.read_text()
    assert (0, "Stopped.") == (process.returncode, output.splitlines()[-1])
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def server(store: Path, mnist_champion: str) -> Iterator[str]:
    yield from served("models:/mnist@champion", store)


@pytest.fixture(scope="module")
def gestures_server(store: Path, forward_model: str) -> Iterator[str]:
    yield from served(forward_model, store)


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
        ("invocations", [[[256] * 28] * 28], 400, "such as 256."),
        ("invocations", [[[0.5] * 28] * 27], 400, "of the shape (1, 27, 28)"),
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


def draw(page: Page, stroke: Sequence[Place]) -> None:
    """Draw a stroke on the paper with the mouse, or on a phone with a finger."""
    box = page.locator("#paper").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
    if page.evaluate("navigator.maxTouchPoints"):
        touch = page.context.new_cdp_session(page)
        for kind, (x, y) in (("touchStart", points[0]), *(("touchMove", point) for point in points)):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    else:
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=8)
        page.mouse.up()


@pytest.fixture
def blank(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open an empty page with the options in the parameter of the test; it must have no error."""
    context = browser.new_context(**getattr(request, "param", {}))
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert [] == problems


@pytest.fixture
def page(blank: Page, server: str) -> Page:
    blank.goto(server)
    expect(blank.get_by_role("meter")).to_have_count(10)
    return blank


@pytest.fixture
def gestures_page(blank: Page, gestures_server: str) -> Page:
    blank.goto(gestures_server)
    expect(blank.get_by_role("meter")).to_have_count(3)
    return blank


def phone(width: int, height: int) -> dict[str, Any]:
    return {"viewport": {"width": width, "height": height}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("blank", [{"color_scheme": "dark"}, phone(390, 844), phone(360, 600)], indirect=True)
def test_a_drawn_digit_is_read_and_the_page_shows_where_to_draw_and_the_answer(page: Page) -> None:
    expect(page.locator("#hint")).to_be_visible()

    for digit, stroke in DIGITS.items():
        draw(page, stroke)

        expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#answer")).to_have_text(digit)
        expect(page.locator("#hint")).to_be_hidden()
        for shown in ("#paper", "#answer"):
            expect(page.locator(shown)).to_be_in_viewport(ratio=1)
        bars = page.get_by_role("meter").evaluate_all("all => all.map(one => [one.ariaLabel, +one.ariaValueNow])")
        assert digit == max(bars, key=lambda bar: bar[1])[0]
        assert 0.999 < sum(probability for _, probability in bars) < 1.001
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#answer")).to_have_text("")
        expect(page.get_by_role("meter", name=digit, exact=True)).to_have_attribute("aria-valuenow", "0")


def unsure(probability: float, **more: Any) -> dict[str, Any]:
    """Return an answer of the server, with this probability of a 3."""
    others = [(1 - probability) / 9]
    said = {"probabilities": others * 3 + [probability] + others * 6, "certainty": probability, "pixels": ZEROS[0]}
    return {"json": said | more}


@pytest.mark.parametrize("blank", [phone(390, 844)], indirect=True)
def test_the_page_says_how_sure_the_model_is_or_that_there_is_no_answer(page: Page) -> None:
    answer: dict[str, Any] | None
    page.route("**/drawing", lambda route: route.fulfill(**answer) if answer else route.abort())
    busy = {"status": 429, "content_type": "text/html", "body": "<p>Too many"}
    for given, said in (
        (None, "The server does not answer."),
        (busy, "The server answers with status 429."),
        (unsure(0.7), "3"),
        (unsure(0.6), "Not sure. Perhaps 3?"),
        (unsure(0.7, certainty=0.6), "Not sure. Perhaps 3?"),
        (unsure(0.7, like=False), "This doesn't look like a digit. Perhaps 3?"),
    ):
        answer = given
        draw(page, DIGITS["1"])

        expect(page.locator("#answer")).to_have_text(said)
        page.get_by_role("button", name="Clear").click()


def test_the_reading_by_step_moves_the_bars_and_a_scan_line(page: Page) -> None:
    expect(page.get_by_role("button", name="Watch it read")).to_be_hidden()
    draw(page, DIGITS["7"])
    expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#read")).to_contain_text("After 28 of 28 steps: 7")
    expect(page.locator(".paper .scan")).to_be_hidden()
    shown = "() => [...document.querySelectorAll('[role=meter]')].map((meter) => +meter.ariaValueNow)"
    last = page.evaluate(shown)

    page.get_by_role("slider", name="After 28 of 28 steps").fill("14")

    expect(page.locator("#read")).to_contain_text("After 14 of 28 steps: ")
    expect(page.locator(".paper .scan")).to_be_visible()
    assert last != page.evaluate(shown)
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


def test_a_picture_is_read_that_is_chosen_dropped_or_pasted(page: Page) -> None:
    for way in ("chosen", "dropped", "pasted"):
        give(page, way, PROJECT / "samples" / "photo-of-a-3.jpg", chooser="Open a picture", kind="image/jpeg")

        expect(page.locator("#answer")).to_contain_text("3")
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#answer")).to_have_text("")


def test_samples_are_read_by_the_keyboard(page: Page) -> None:
    for digit in "257":
        page.get_by_role("button", name=f"Sample {digit}").press("Enter")
        expect(page.locator("#answer")).to_contain_text(digit)


def test_undo_takes_back_one_stroke_and_its_answer_by_button_or_keys(page: Page) -> None:
    draw(page, DIGITS["7"])
    expect(page.locator("#answer")).to_have_text("7")
    before = page.evaluate("paper.toDataURL()")
    draw(page, [(0.1, 0.9), (0.9, 0.9)])

    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#answer")).to_have_text("7")
    assert before == page.evaluate("paper.toDataURL()")
    page.keyboard.press("Control+z")
    expect(page.locator("#answer")).to_have_text("")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_a_sequence_that_is_typed_chosen_dropped_or_pasted_is_plotted_with_the_answer_after_each_step(
    gestures_page: Page, tmp_path: Path
) -> None:
    page, file = gestures_page, tmp_path / "rises.csv"
    file.write_text("\n".join(["x,y", *(f"{x / 4},{-x / 4}" for x in range(-12, 13))]))
    for way in ("typed", "chosen", "dropped", "pasted"):
        if way == "typed":
            page.get_by_role("textbox").fill(file.read_text())
        else:
            give(page, way, file, chooser="Open a CSV file", kind="text/csv")

        expect(page.locator("#answer")).to_contain_text("rises")
        expect(page.locator("#read")).to_contain_text("After 25 of 25 steps: rises")
        page.get_by_role("slider").fill("5")
        expect(page.locator("#read")).to_contain_text("After 5 of 25 steps: ")
        expect(page.locator("#plot line")).to_have_count(1)
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#plot polyline")).to_have_count(0)
    page.get_by_role("button", name="Try a sample").click()
    expect(page.locator("#plot polyline")).to_have_count(2)
    expect(page.locator("#curves polyline")).to_have_count(3)


def test_a_bad_sequence_is_explained_and_without_answers_by_step_the_page_shows_the_final_one(
    gestures_page: Page,
) -> None:
    page = gestures_page
    page.get_by_role("textbox").fill("1,2\n3")
    expect(page.locator("#answer")).to_contain_text("got null or NaN for feature 1 at step 1")

    final = {"probabilities": [0.1, 0.1, 0.8], "certainty": 0.8, "by_step": None, "sequence": [[1, 2], [3, 4]]}
    page.route("**/sequence", lambda route: route.fulfill(json=final))  # of a bidirectional model
    page.get_by_role("textbox").fill("1,2\n3,4")
    expect(page.locator("#answer")).to_have_text("rises")
    expect(page.locator("#plot polyline")).to_have_count(2)
    expect(page.locator("#reading")).to_be_hidden()
