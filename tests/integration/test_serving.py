"""Real servers of the logged model, asked over HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pytest
import requests

from pipeline.data import processed
from pipeline.settings import DataSettings
from tests.integration.conftest import Training, environment, free_port, wait_until_up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(digits_run: Training) -> Iterator[str]:
    """Serve the model of the run in the environment that it names; return the address."""
    yield from served(f"runs:/{digits_run.run_id}/digits-gru", "uv")


def served(model: str, env_manager: str = "local") -> Iterator[str]:
    port = free_port()
    arguments = ["-m", model, "--port", str(port), "--env-manager", env_manager]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", *arguments], env=environment(), start_new_session=True
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/ping", process)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="module")
def images(digits_run: Training) -> np.ndarray[Any, Any]:
    return processed.find(DataSettings(dataset="digits")).test.examples[:20]


def test_it_answers_with_the_probabilities_of_the_model_in_process(
    server: str, digits_run: Training, images: np.ndarray[Any, Any]
) -> None:
    expected = mlflow.pyfunc.load_model(f"runs:/{digits_run.run_id}/digits-gru").predict(images.astype(np.float32))

    for key, pixels in (("inputs", images), ("instances", images), ("inputs", images.astype(float))):
        answer = requests.post(server, json={key: pixels.tolist()}, timeout=60)
        assert answer.ok, answer.text
        np.testing.assert_allclose(np.array(answer.json()["predictions"]), expected, atol=1e-5)


def with_pixel(value: object) -> dict[str, Any]:
    image: Any = zeros(1, 8, 8)
    image[0][0][0] = value
    return {"inputs": image}


def zeros(*shape: int) -> Any:
    return np.zeros(shape, int).tolist()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        # Ours: what the numbers are, and how many.
        (with_pixel(-1), "expected numbers from 0 to 255, received numbers from -1 to 0."),
        (with_pixel(256), "expected numbers from 0 to 255, received numbers from 0 to 256."),
        (with_pixel(float("inf")), "received numbers from 0 to inf."),
        (with_pixel(None), "received numbers from 0 to 0, and 1 of 64 that are NaN or null."),
        (with_pixel(float("nan")), "and 1 of 64 that are NaN or null."),
        ({"inputs": zeros(10_001, 8, 8)}, "expected at most 10,000 in one request, received 10,001."),
        # MLflow's: whether they are numbers, and their shape.
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
def test_what_is_not_images_is_answered_with_400_and_the_server_lives_on(
    server: str, images: np.ndarray[Any, Any], body: object, said: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    refused = requests.post(server, data=content, headers={"Content-Type": "application/json"}, timeout=60)

    assert 400 == refused.status_code
    assert said in refused.json()["message"]
    assert requests.post(server, json={"inputs": images.tolist()}, timeout=60).ok


def test_as_many_images_as_are_allowed_are_answered(server: str) -> None:
    answer = requests.post(server, json={"inputs": zeros(10_000, 8, 8)}, timeout=120)

    assert (10_000, 10) == np.array(answer.json()["predictions"]).shape


@pytest.fixture(scope="module")
def gestures_server(forward_model: str) -> Iterator[str]:
    yield from served(forward_model)


def test_sequences_of_a_request_are_padded_with_null(gestures_server: str, forward_model: str) -> None:
    sequences = [[[0.5, -0.5], [1.5, -1.5], [2.5, -2.5]], [[2, -2], [None, None], [None, None]]]
    expected = mlflow.pyfunc.load_model(forward_model).predict(np.array(sequences, np.float32))
    alone = mlflow.pyfunc.load_model(forward_model).predict(np.array([[[2, -2]]], np.float32))

    answer = requests.post(gestures_server, json={"inputs": sequences}, timeout=60).json()["predictions"]

    np.testing.assert_allclose(answer, expected, atol=1e-5)
    np.testing.assert_allclose(answer[1:], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("sequences", "said"),
    [
        ([[[1, 2, 3]]], "does not match expected shape (-1, -1, 2)"),
        ([[[1, 2], [None, 2], [1, 2]]], "received no number (null or NaN) for feature 0 at step 1 of sequence 0"),
        ([[[None, None], [1, 2]]], "received no number (null or NaN) for feature 0 at step 0 of sequence 0"),
        ([[[None, None]]], "expected at least one step, received none in sequence 0"),
        ([[[1, 2]], [[1, float("inf")]]], "received an infinite one for feature 1 at step 0 of sequence 1"),
        (zeros(10_001, 1, 2), "expected at most 10,000 sequences in one request, received 10,001"),
        (zeros(1, 10_001, 2), "expected at most 10,000 steps of a sequence, received 10,001"),
    ],
)
def test_what_is_not_sequences_is_answered_with_400(gestures_server: str, sequences: object, said: str) -> None:
    refused = requests.post(
        gestures_server,
        data=json.dumps({"inputs": sequences}),
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert 400 == refused.status_code
    assert said in refused.json()["message"]
