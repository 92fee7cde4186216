"""Errors of libraries that the user can fix become messages; bugs keep their traceback."""

import errno
import os
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from pipeline.errors import DataError, TrackingError, TrainingError, first_line, of_library, shown


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


def test_of_a_message_the_useful_line_is_shown() -> None:
    said = "(raised as a result of autoflush)\n(sqlite3.OperationalError) disk is full\n[SQL: INSERT]"
    assert ["(sqlite3.OperationalError) disk is full", "OSError"] == [first_line(OSError(each)) for each in (said, "")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:secret@a.b:80/c?token=secret#secret", "https://a.b:80/c"),
        ("https://secret@a.b/", "https://a.b/"),
        ("s3://key:secret@bucket/mnist?signature=secret", "s3://bucket/mnist"),
        ("postgresql://me:sec@ret:secret@db:5432/x", "postgresql://db:5432/x"),
        ("https://user:sec/ret@host/", "https://…"),
        ("postgresql://me:sec#ret@db/x", "postgresql://…"),
        ("https://a.b/c?mail=me@secret&token=secret", "https://…"),
        ("request to http://me:p:secret@db:5000/api failed", "request to http://db:5000/api failed"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////data/me@home/mlflow.db", "sqlite:////data/me@home/mlflow.db"),
        ("/data/a@b?c#d", "/data/a@b?c#d"),
        ("models:/gru@champion", "models:/gru@champion"),
    ],
)
def test_an_address_is_shown_without_secrets(text: str, expected: str) -> None:
    assert expected == shown(text) == first_line(OSError(text))
