"""Errors of libraries that the user can fix become messages; bugs keep their traceback."""

import errno
import os
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from pipeline.errors import DataError, TrackingError, TrainingError, first_line, of_library


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG])
def test_a_system_error_names_the_file_and_what_to_do(number: int, tmp_path: Path) -> None:
    failure = of_library(OSError(number, os.strerror(number), str(tmp_path / "file")))

    assert isinstance(failure, DataError)
    assert str(failure).startswith(f"{tmp_path / 'file'}: cannot be read or written: ")
    assert os.strerror(number) in str(failure)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("Run 'x' not found"),
        requests.ConnectionError("refused"),
        OperationalError("INSERT", {}, Exception("database or disk is full")),
    ],
)
def test_an_error_of_the_store_keeps_its_message(error: Exception) -> None:
    failure = of_library(error)
    assert isinstance(failure, TrackingError)
    assert first_line(error) in str(failure)


def test_memory_is_named() -> None:
    assert isinstance(of_library(MemoryError()), TrainingError)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), FileNotFoundError(2, "No such file", "x")])
def test_a_bug_stays_one(error: Exception) -> None:
    assert of_library(error) is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "API request to http://me:p:w@x@db.example:5000/api failed",
            "API request to http://db.example:5000/api failed",
        ),
        ("no answer from https://db.example/a@b", "no answer from https://db.example/a@b"),
        (
            "(raised as a result of autoflush)\n(sqlite3.OperationalError) disk is full\n[SQL: INSERT]",
            "(sqlite3.OperationalError) disk is full",
        ),
        ("", "OSError"),
    ],
)
def test_of_a_message_the_useful_line_is_shown_without_passwords(said: str, shown: str) -> None:
    assert shown == first_line(OSError(said))
