"""Real servers of the logged model, asked over HTTP."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pytest
import requests

from pipeline import splits
from pipeline.settings import DataSettings
from tests.integration.conftest import Training, environment, free_port, wait_until_up


@pytest.fixture(
    scope="module",
    params=["local", pytest.param("uv", marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def server(request: pytest.FixtureRequest, digits_run: Training) -> Iterator[str]:
    """Serve the model of the run, in this environment and in the one that the model names; return the address."""
    port = free_port()
    arguments = ["-m", f"runs:/{digits_run.run_id}/model", "--port", str(port), "--env-manager", request.param]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", *arguments], env=environment(), start_new_session=True
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/ping", process, 400)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="module")
def images(digits_run: Training) -> np.ndarray[Any, Any]:
    return splits.find(DataSettings(dataset="digits")).test.images[:20]


def test_it_answers_with_the_probabilities_of_the_model_in_process(
    server: str, digits_run: Training, images: np.ndarray[Any, Any]
) -> None:
    expected = mlflow.pyfunc.load_model(f"runs:/{digits_run.run_id}/model").predict(images.astype(np.float32))

    for key in ("inputs", "instances"):
        answer = requests.post(server, json={key: images.tolist()}, timeout=60)
        assert answer.ok, answer.text
        np.testing.assert_allclose(np.array(answer.json()["predictions"]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-1.0, "expected numbers from 0 to 255"),
        (256.0, "expected numbers from 0 to 255"),
        (None, "expected numbers from"),
    ],
)
def test_pixels_out_of_range_are_refused_and_the_server_lives_on(
    server: str, images: np.ndarray[Any, Any], value: float | None, said: str
) -> None:
    wrong = images[:1].tolist()
    wrong[0][0][0] = value

    refused = requests.post(server, json={"inputs": wrong}, timeout=60)

    assert refused.status_code == 400
    assert said in refused.text
    assert requests.post(server, json={"inputs": images.tolist()}, timeout=60).ok


def test_images_of_another_size_are_refused(server: str) -> None:
    refused = requests.post(server, json={"inputs": np.zeros((1, 28, 28)).tolist()}, timeout=60)

    assert refused.status_code == 400
    assert "(-1, 8, 8)" in refused.text
