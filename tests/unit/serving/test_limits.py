import asyncio
import json
import threading
import tracemalloc
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.serving import limits
from pipeline.serving.limits import Limiter

IMAGE = [[0] * 28] * 28


@pytest.mark.parametrize("key", ["inputs", "instances"])
@pytest.mark.parametrize("more", [{}, {"params": {"a": 1}}, {"other": None}])
def test_images_are_read_whatever_else_is_sent(key: str, more: dict[str, Any]) -> None:
    assert [IMAGE] == limits.images(json.dumps({key: [IMAGE]} | more).encode(), width=28)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "what is not JSON in UTF-8"),
        (b"{", "what is not JSON in UTF-8"),
        (b"[1, 2]", "received list."),
        (b"{}", "received dict."),
        (b"null", "received NoneType."),
        (b'{"x": 1}', "received 'x': int."),
        (json.dumps({"inputs": [IMAGE], "instances": [IMAGE]}).encode(), "'inputs': list, 'instances': list"),
        (b'{"inputs": null}', "received 'inputs': NoneType."),
        (b'{"instances": "abc"}', "received 'instances': str."),
        (b'{"inputs": [' + b"9" * 5_000 + b"]}", "what is not JSON in UTF-8"),
        (b'{"inputs": "\xff\xfe"}', "what is not JSON in UTF-8"),
        ('{"inputs": [[[1]]]}'.encode("utf-16"), "what is not JSON in UTF-8"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "received 100,002 lists and objects"),
        (b'{"inputs": [' + b"[]," * 100_000 + b"[]]}", "received 100,004 lists and objects"),
        (b'{"inputs": [' + b"{}," * 100_000 + b"{}]}", "lists and objects in 300,016 bytes"),
        (b"{" + b",".join(b'"%d":1' % number for number in range(9_999)) + b"}", "lists and objects"),
    ],
)
def test_what_is_not_a_list_of_images_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(HTTPException, match="body: expected one JSON object") as refused:
        limits.images(content, width=28)

    assert HTTPStatus.BAD_REQUEST == refused.value.status_code
    assert said in refused.value.detail
    assert 1_000 > len(refused.value.detail)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", 'application/json;charset="utf-8"'])
def test_json_is_accepted_in_any_case(kind: str) -> None:
    limits.check_json(kind)


@pytest.mark.parametrize("kind", [None, "", "text/csv", "application/json; charset=latin-1", "application/jsonp"])
def test_another_kind_of_body_is_refused(kind: str | None) -> None:
    with pytest.raises(HTTPException, match="415: Content-Type: expected application/json"):
        limits.check_json(kind)


def request(parts: Iterable[bytes], *, length: int | None = None, ends: bool = True) -> Request:
    """Return a request whose body arrives in parts; one that does not end leaves its server waiting."""
    messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts])

    async def receive() -> dict[str, Any]:
        if message := next(messages, None):
            return message
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "headers": headers}, receive)


async def length(asked: Request, limiter: Limiter | None = None, *, most: int) -> int:
    answer = await (limiter or Limiter()).answer(asked, len, "it", most=most)
    return int(bytes(answer.body))


def test_a_body_is_read_up_to_its_limit() -> None:
    assert 4 == asyncio.run(length(request([b"ab", b"cd"]), most=4))
    with pytest.raises(HTTPException, match="it: expected at most 4 bytes, received more"):
        asyncio.run(length(request([b"ab", b"cd", b"e"]), most=4))


def test_a_body_without_end_takes_no_more_memory_than_is_allowed() -> None:
    part = bytes(2**16)
    tracemalloc.start()
    with pytest.raises(HTTPException) as refused:
        asyncio.run(length(request(part for _ in range(3_000)), most=2**20))  # 200 MB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert HTTPStatus.REQUEST_ENTITY_TOO_LARGE == refused.value.status_code
    assert 4 * 2**20 > peak


def test_a_body_that_does_not_arrive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.01)

    with pytest.raises(HTTPException, match="expected all of it within") as refused:
        asyncio.run(length(request([b"a"], ends=False), most=9))

    assert HTTPStatus.REQUEST_TIMEOUT == refused.value.status_code


def test_small_bodies_overtake_large_ones_that_hang() -> None:
    async def small_beside_large() -> int:
        limiter = Limiter()
        hanging = [
            asyncio.ensure_future(length(request([b""], length=2**19, ends=False), limiter, most=2**20))
            for _ in range(limits.HELD + 1)
        ]
        await asyncio.sleep(0)
        answer = await length(request([b"abc"], length=3), limiter, most=2**20)
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        reasons = await asyncio.gather(*hanging, return_exceptions=True)
        assert {"503: The server is stopping."} == {str(reason) for reason in reasons}
        return answer

    assert 3 == asyncio.run(small_beside_large())


@pytest.mark.parametrize(("heavy", "expected"), [(True, limits.HEAVY), (False, 4)])
def test_few_heavy_requests_are_worked_on_at_the_same_time(heavy: bool, expected: int) -> None:
    working, most, lock, release = 0, 0, threading.Lock(), threading.Event()

    def work(_: bytes) -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
            if most == expected:
                threading.Timer(0.1, release.set).start()  # were a further one let in, it would have begun by then
        release.wait(30)
        with lock:
            working -= 1

    async def all_together() -> None:
        limiter = Limiter()
        asked = [request([b"a"], length=1) for _ in range(4)]
        await asyncio.gather(*(limiter.answer(each, work, "it", most=9, heavy=heavy) for each in asked))

    asyncio.run(all_together())

    assert expected == most
