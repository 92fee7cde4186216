"""Requests to a real server of the logged model, and the checks in the code of a model of sequences."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from mlflow.exceptions import MlflowException

from pipeline.data import stored
from pipeline.settings import DataSettings
from tests.servers import free_port, running, wait_until_up

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(store: Path, digits_run: str) -> Iterator[str]:
    """Serve the model of the run in the environment that it names; return the address."""
    port = free_port()
    options = ["-m", f"runs:/{digits_run}/digits-gru", "--port", str(port), "--env-manager", "uv"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
    with running(command, store / "serving.log", {}) as process:
        wait_until_up(f"http://127.0.0.1:{port}/ping", process)
        yield f"http://127.0.0.1:{port}/invocations"


@pytest.fixture(scope="module")
def images(digits_run: str) -> np.ndarray[Any, Any]:
    return stored.find(DataSettings(dataset="digits")).test.examples[:20]


@pytest.mark.slow
def test_it_answers_with_the_probabilities_of_the_model_in_process(
    server: str, digits_run: str, images: np.ndarray[Any, Any]
) -> None:
    expected = mlflow.pyfunc.load_model(f"runs:/{digits_run}/digits-gru").predict(images.astype(np.float32))

    for key, pixels in (("inputs", images), ("instances", images), ("inputs", images.astype(float))):
        answer = requests.post(server, json={key: pixels.tolist()}, timeout=60)
        assert answer.ok, answer.text
        np.testing.assert_allclose(np.array(answer.json()["predictions"]), expected, atol=1e-5)
    most = requests.post(server, json={"inputs": zeros(10_000, 8, 8)}, timeout=120)
    assert (10_000, 10) == np.array(most.json()["predictions"]).shape


def with_pixel(value: object) -> dict[str, Any]:
    image: Any = zeros(1, 8, 8)
    image[0][0][0] = value
    return {"inputs": image}


def zeros(*shape: int) -> Any:
    return np.zeros(shape, int).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        # Our code checks the values of the numbers, and their number.
        (with_pixel(-1), "must be numbers from 0 to 255; 1 of 64 are not, such as -1."),
        (with_pixel(256), "such as 256."),
        (with_pixel(float("inf")), "such as inf."),
        (with_pixel(None), "such as nan."),
        (with_pixel(float("nan")), "such as nan."),
        ({"inputs": zeros(10_001, 8, 8)}, "at most 10,000 in a request are allowed; got 10,001."),
        # MLflow checks that they are numbers, and their shape.
        (with_pixel("dark"), "could not convert string to float: 'dark'"),
        (with_pixel({}), "not 'dict'"),
        ({"inputs": "dark"}, "Failed to convert data `dark`"),
        ({"inputs": zeros(8, 8)}, "Shape of input (8, 8) does not match expected shape (-1, 8, 8)"),
        ({"instances": zeros(8, 8)}, "Shape of input (8, 8) does not match expected shape (-1, 8, 8)"),
        ({"inputs": zeros(1, 28, 28)}, "Shape of input (1, 28, 28) does not match expected shape (-1, 8, 8)"),
        ({"inputs": zeros(1, 64)}, "Shape of input (1, 64) does not match expected shape (-1, 8, 8)"),
        ({"inputs": [zeros(8, 8), zeros(7, 8)]}, "inhomogeneous shape"),
        ({"inputs": []}, "(-1, 8, 8)"),
        ({"inputs": None}, "NoneType"),
        ({"pixels": zeros(1, 8, 8)}, "exactly one of the input fields"),
        ({}, "exactly one of the input fields"),
        ([], "Received a list"),
        ("", "Ensure that input is a valid JSON formatted string"),
        ('{"inputs": [[[', "Ensure that input is a valid JSON formatted string"),
    ],
)
def test_bad_images_are_answered_with_400_and_the_server_still_answers(
    server: str, images: np.ndarray[Any, Any], body: object, said: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    refused = requests.post(server, data=content, headers=JSON, timeout=60)

    assert 400 == refused.status_code
    assert said in refused.json()["message"]
    assert requests.post(server, json={"inputs": images.tolist()}, timeout=60).ok


NONE = np.nan


def test_shorter_sequences_are_padded_with_nan(forward_model: str) -> None:
    model = mlflow.pyfunc.load_model(forward_model)
    sequences = [[[0.5, -0.5], [1.5, -1.5], [2.5, -2.5]], [[2, -2], [NONE, NONE], [NONE, NONE]]]

    answers = model.predict(np.array(sequences, np.float32))

    np.testing.assert_allclose(answers[1:], model.predict(np.array([[[2, -2]]], np.float32)), atol=1e-5)


@pytest.mark.parametrize(
    ("sequences", "said"),
    [
        ([[[1, 2, 3]]], "does not match expected shape (-1, -1, 2)"),
        ([[[1, 2], [NONE, 2], [1, 2]]], "got null or NaN for feature 0 at step 1 of sequence 0"),
        ([[[NONE, NONE], [1, 2]]], "got null or NaN for feature 0 at step 0 of sequence 0"),
        ([[[NONE, NONE]]], "must have at least one step; sequence 0 has none"),
        ([[[1, 2]], [[1, float("inf")]]], "got infinity for feature 1 at step 0 of sequence 1"),
        (zeros(10_001, 1, 2), "at most 10,000 sequences in one request are allowed; got 10,001"),
        (zeros(1, 10_001, 2), "at most 10,000 steps of a sequence are allowed; got 10,001"),
    ],
)
def test_bad_sequences_are_refused(forward_model: str, sequences: object, said: str) -> None:
    with pytest.raises(MlflowException) as refused:
        mlflow.pyfunc.load_model(forward_model).predict(np.array(sequences, np.float32))
    assert said in str(refused.value)
    assert "INVALID_PARAMETER_VALUE" == refused.value.error_code  # a server answers this with 400
