"""A file from a web server, read as it arrives: what may fail on the way, and how often it is tried."""

import time
from collections.abc import Callable
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urlsplit

from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import shown

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = 30
"""Seconds that a server may stay silent."""

PAUSES = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt at a server."""

PATIENCE, LEAST = 60, 6_000
"""Seconds in which a server must send at least so many bytes."""

T = TypeVar("T")


class NoAnswerError(DataError):
    """The server cannot be reached: another file there will not be, either."""


def fetch(address: str, take: Callable[[BinaryIO], T], reporter: Reporter) -> T:
    """Return what ``take`` makes of the file at ``address``, tried again after a failure that may pass.

    Args:
        address: with its credentials, which are not shown.
        take: reads the file once, from its beginning, as far as it wants.
        reporter: told what has arrived.

    Raises:
        DataError: it cannot be had, with the reason in short; a NoAnswerError where the server did not even answer.
    """
    import requests

    pauses = iter(PAUSES)
    while True:
        try:
            with requests.get(address, stream=True, timeout=TIMEOUT) as response:
                response.raise_for_status()
                return take(BufferedReader(_Body(response, reporter)))
        except OSError as error:  # all that requests raises is one
            pause = next(pauses, None) if _may_pass(error) else None
            if pause is None:
                silent = isinstance(error, requests.ConnectionError | requests.Timeout)
                raise (NoAnswerError if silent else DataError)(f"{shown(address)}: {_reason(error)}.") from None
            time.sleep(pause)


class _Body(RawIOBase):
    """What a server sends, to be read once: tells a reporter what has arrived, and gives up where too little comes."""

    def __init__(self, response: "Response", reporter: Reporter) -> None:
        self._response, self._reporter = response, reporter
        self._address = shown(response.url)
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if length.isdecimal() else None
        self._done = 0
        self._window = (time.monotonic(), 0)  # when it began, and the bytes before it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader gives
        part = self._receive(len(buffer))
        buffer[: len(part)] = part
        self._done += len(part)
        if part:
            self._check_pace()
            done = min(self._done, self._total or self._done)
            self._reporter.transfer(urlsplit(self._address).path.rpartition("/")[2], done, self._total)
        return len(part)

    def _receive(self, size: int) -> bytes:
        """Return up to ``size`` bytes, as soon as there are any; none at the end."""
        import requests
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        try:
            return self._response.raw.read1(size, decode_content=True) or b""
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(error) from error
        except HTTPError as error:
            raise requests.exceptions.ChunkedEncodingError(error) from error

    def _check_pace(self) -> None:
        began, before = self._window
        now = time.monotonic()
        if now - began < PATIENCE:
            return
        if self._done - before < LEAST:
            raise NoAnswerError(
                f"{self._address}: expected at least {LEAST:,} bytes within {PATIENCE} s, "
                f"received {self._done - before:,}. Try another time, or another source."
            )
        self._window = (now, self._done)


def _may_pass(error: OSError) -> bool:
    """Return whether another attempt may go better: not where the server refused, or kept silent for its time."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response.status_code >= 500 or error.response.status_code in {408, 429}  # noqa: PLR2004
    return isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError) and not isinstance(
        error, requests.ConnectTimeout
    )


def _reason(error: OSError) -> str:
    """Return why a transfer failed, in a few words: what the operating system said, without urllib3's wrapping."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off before the end"
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    said = (cause.strerror for cause in reversed(causes) if isinstance(cause, OSError) and cause.strerror)
    return next(said, type(error).__name__)
