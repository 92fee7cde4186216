import asyncio
import json
import threading
import tracemalloc
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import Request

from pipeline.serving import limits
from pipeline.serving.limits import Gate, RefusedError

IMAGE = [[0] * 28] * 28
NUMBERS = "pixels: expected numbers from 0 to 255, received"


def body(pixel: str = "0") -> bytes:
    """Return a body of one image whose first pixel is ``pixel``, as it stands there."""
    return json.dumps({"inputs": [IMAGE]}).encode().replace(b"0", pixel.encode(), 1)


@pytest.mark.parametrize("key", ["inputs", "instances"])
@pytest.mark.parametrize("more", [{}, {"params": {"a": 1}}, {"other": None}])
def test_images_are_read_whatever_else_is_said(key: str, more: dict[str, Any]) -> None:
    assert [IMAGE] == limits.images(json.dumps({key: [IMAGE]} | more).encode(), width=28)


@pytest.mark.parametrize("pixel", ["0.5", "255", "-1", "1e400", "NaN", "9" * 4_000])
def test_a_number_of_any_size_is_left_to_the_model(pixel: str) -> None:
    assert isinstance(limits.images(body(pixel), width=28)[0][0][0], int | float)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not read"),
        (b"{", "does not read"),
        (b"[1, 2]", "received lists"),
        (b"{}", "received an object"),
        (b"null", "received null"),
        (b'{"x": 1}', "received one with 'x'"),
        (json.dumps({"inputs": [IMAGE], "instances": [IMAGE]}).encode(), "one with 'inputs', 'instances'"),
        (b'{"inputs": null}', "inputs: expected a list of images, received null"),
        (b'{"instances": "abc"}', "instances: expected a list of images, received text"),
        (b'{"inputs": {"a": [1]}}', "inputs: expected a list of images, received an object"),
        (body("true"), f"{NUMBERS} true or false."),
        (body('"12"'), f"{NUMBERS} text."),
        (body("null"), f"{NUMBERS} null."),
        (body("[]"), f"{NUMBERS} lists."),
        (body("{}"), f"{NUMBERS} an object."),
        (body("9" * 5_000), "does not read"),
        (b'{"inputs": "\xff\xfe"}', "JSON in UTF-8"),
        ('{"inputs": [[[1]]]}'.encode("utf-16"), "JSON in UTF-8"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "received 100,000 lists"),
        (b'{"inputs": ' + b"[" * 2_000 + b" " * 60_000 + b"]" * 2_000 + b"}", "too deep"),
        (b'{"inputs": [' + b"[]," * 100_000 + b"[]]}", "received 100,002 lists"),
        (b'{"inputs": [' + b"{}," * 100_000 + b"{}]}", "expected one JSON object"),
        (
            b'{"inputs": [], ' + b",".join(b'"%d":1' % number for number in range(9_999)) + b"}",
            "expected one JSON object",
        ),
    ],
)
def test_what_is_no_request_for_images_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        limits.images(content, width=28)

    assert HTTPStatus.BAD_REQUEST == refused.value.status
    assert said in refused.value.message
    assert 1_000 > len(refused.value.message)


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON", "application/json; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_json_is_known_in_any_case(kind: str) -> None:
    limits.check_json(kind)


@pytest.mark.parametrize(
    "kind", [None, "", "text/csv", "application/json; charset=latin-1", "application/jsonp", "a\0b"]
)
def test_another_kind_of_body_is_refused(kind: str | None) -> None:
    with pytest.raises(RefusedError, match="Content-Type: expected application/json") as refused:
        limits.check_json(kind)

    assert HTTPStatus.UNSUPPORTED_MEDIA_TYPE == refused.value.status


def request(parts: Iterable[bytes], *, ends: bool = True) -> Request:
    """Return a request whose body arrives in parts; one that does not end leaves its server waiting."""
    messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts])

    async def receive() -> dict[str, Any]:
        if message := next(messages, None):
            return message
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "headers": []}, receive)


async def read(gate: Gate, asked: Request, *, most: int) -> bytes:
    async with gate.body(asked, "it", most=most) as content:
        return bytes(content)


def test_a_body_is_read_up_to_its_limit() -> None:
    assert b"abcd" == asyncio.run(read(Gate(), request([b"ab", b"cd"]), most=4))
    with pytest.raises(RefusedError, match="it: expected at most 4 bytes, received more"):
        asyncio.run(read(Gate(), request([b"ab", b"cd", b"e"]), most=4))


def test_a_body_without_end_takes_no_more_memory_than_is_allowed() -> None:
    part = bytes(2**16)
    tracemalloc.start()
    with pytest.raises(RefusedError) as refused:
        asyncio.run(read(Gate(), request(part for _ in range(3_000)), most=2**20))  # 200 MB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert HTTPStatus.REQUEST_ENTITY_TOO_LARGE == refused.value.status
    assert 4 * 2**20 > peak


def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.01)

    with pytest.raises(RefusedError, match="expected all of it within") as refused:
        asyncio.run(read(Gate(), request([b"a"], ends=False), most=9))

    assert HTTPStatus.REQUEST_TIMEOUT == refused.value.status


def test_small_bodies_pass_large_ones_that_hang() -> None:
    async def small_beside_large() -> bytes:
        gate, large = Gate(), bytes(limits.SMALL + 1)
        hanging = [
            asyncio.ensure_future(read(gate, request([large], ends=False), most=2**20))
            for _ in range(limits.READING + 1)
        ]
        await asyncio.sleep(0)
        answer = await read(gate, request([bytes(limits.SMALL)]), most=2**20)
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        reasons = await asyncio.gather(*hanging, return_exceptions=True)
        assert {"The server ends."} == {str(reason) for reason in reasons}
        return answer

    assert bytes(limits.SMALL) == asyncio.run(small_beside_large())


@pytest.mark.parametrize(("dear", "expected"), [(True, limits.WORKING), (False, 4)])
def test_few_dear_works_are_done_at_once(dear: bool, expected: int) -> None:
    at_once, most, lock, release = 0, 0, threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            if most == expected:
                threading.Timer(0.1, release.set).start()  # were a further one let in, it would have begun by then
        release.wait(30)
        with lock:
            at_once -= 1

    async def all_at_once() -> None:
        gate = Gate()
        await asyncio.gather(*(gate.work(work, dear=dear) for _ in range(4)))

    asyncio.run(all_at_once())

    assert expected == most
