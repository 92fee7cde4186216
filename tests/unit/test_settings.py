import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest

from pipeline import machine
from pipeline.cells import CELLS, Cell
from pipeline.errors import UsageError
from pipeline.settings import DataSettings, Settings, command, option


def test_defaults_follow_the_tutorial_and_other_features_are_off() -> None:
    expected = {"dataset": "mnist", "steps": 0, "hidden_units": 128, "layers": 1, "direction": "forward"}
    expected |= {"learning_rate": 0.001, "epochs": 30, "batch_size": 128, "recipe": "tutorial", "schedule": "constant"}
    expected |= {"augmentation": "none", "initializer": "orthogonal"}
    expected |= dict.fromkeys(("warmup_epochs", "dropout", "weight_decay", "clip_norm", "ema", "label_smoothing"), 0)
    assert expected.items() <= asdict(Settings()).items()
    assert get_args(Cell) == tuple(CELLS)


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("cell", "transformer", "'rnn', 'lstm', 'gru' or 'mgu'"),
        ("dataset", "cifar", "one of mnist, fashion-mnist, kmnist, digits"),
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", -0.001, "greater than 0"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", float("nan"), "a finite number"),
        ("learning_rate", float("inf"), "a finite number"),
        ("steps", -2, "at least -1"),
        ("seed", 2**31, "at most 2147483647"),
        ("hidden_units", "many", "a whole number"),
        ("direction", "sideways", "'forward' or 'bidirectional'"),
        ("source", "", "at least 1 character"),
        ("recipe", "lucky", "'tutorial', 'accurate', 'deep', 'quick', 'pixels' or 'sequences'"),
        ("schedule", "linear", "'constant' or 'cosine'"),
        ("augmentation", "shear", "'none', 'affine' or 'elastic'"),
        ("initializer", "zeros", "'orthogonal', 'identity', 'chrono' or 'log-chrono'"),
        ("warmup_epochs", -1, "at least 0"),
        ("shards", 65, "at most 64"),
        ("dropout", 1, "less than 1"),
        ("ema", 1.0, "less than 1"),
        ("label_smoothing", 1.0, "less than 1"),
        ("weight_decay", -0.1, "at least 0"),
        ("clip_norm", -1.0, "at least 0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_requirement(name: str, value: object, expectation: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: must .*{re.escape(expectation)}.*got {value!r}"):
        Settings.of({name: value})


def test_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"epochz: there is no parameter of this name\. Did you mean epochs"):
        Settings.of({"epochz": 3})
    with pytest.raises(UsageError, match="cell: there is no parameter of this name"):
        DataSettings.of({"cell": "gru"})


@pytest.mark.parametrize(("cores", "shards"), [(1, 1), (4, 4), (64, 4)])
def test_shards_are_limited_by_cores_images_and_four(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, shards: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(machine, "OWN", tmp_path / "no control groups")
    assert (shards, 3) == (Settings.of({}).shards, Settings.of({"batch_size": 3, "shards": 8}).shards)


def key_of(source: str) -> str:
    return DataSettings(source=source).key


def test_paths_of_source_and_data_dir_are_normalised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert ["mirrors", str(tmp_path / "circle")] == [key_of(source) for source in ("mirrors", "circle")]
    assert {str(tmp_path / "mine")} == {key_of(source) for source in ("mine", "~/mine", "./mine/")}
    assert str(tmp_path / "~no-such-user" / "mine") == key_of("~no-such-user/mine")
    assert tmp_path / "d" == DataSettings.of({"data_dir": "~/d"}).data_dir == Settings.of({"data_dir": "~/d"}).data_dir
    assert {"https://a.b/c/"} == {key_of(source) for source in ("https://a.b/c", "https://a.b/c/")}
    assert key_of("https://user:old@a.b/c?set=1") == key_of("https://user:new@a.b/c/?set=1") != key_of("https://a.b/c")


@pytest.mark.parametrize(
    ("source", "received"),
    [
        ("s3://key:secret@bucket/mnist?signature=secret", "s3://bucket/mnist"),
        ("https://", "https://"),
        ("https://user:sec/ret@host/", "https://…"),
    ],
)
def test_an_address_that_is_not_of_the_web_is_refused_and_no_secret_shown(source: str, received: str) -> None:
    with pytest.raises(UsageError, match=f"^source: must be .* got '{received}'"):
        DataSettings(source=source)


def test_credentials_in_an_address_are_never_shown_logged_or_stored(tmp_path: Path) -> None:
    settings = Settings(source="https://user:secret@a.b:80/c?token=secret#secret", data_dir=tmp_path)
    assert f"pipeline download --source https://a.b:80/c --data-dir {tmp_path}" == settings.command("download")
    assert "secret" not in settings.key


@pytest.mark.parametrize(
    ("run_id", "typed"),
    [
        (None, ("pipeline preprocess --data-dir 'my data'", "pipeline promote --force", "--filter …")),
        (
            "0",
            (
                "mlflow run . -e preprocess -P data_dir='my data'",
                "mlflow run . -e promote -P force=true",
                "-P filter=…",
            ),
        ),
    ],
)
def test_what_to_type_is_shown_as_the_user_types(
    monkeypatch: pytest.MonkeyPatch, run_id: str | None, typed: tuple[str, ...]
) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    if run_id:
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        assert "mlflow run . -P resume=abc" == command("run", resume="abc")
    settings = DataSettings(data_dir=Path("my data"))
    assert typed == (settings.command("preprocess"), command("promote", force=True), option("filter"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cell": "gru", "activation": "relu"}, "activation: must be tanh for cell gru; got relu"),
        ({"cell": "rnn", "initializer": "chrono"}, "initializer: must be orthogonal or identity for cell rnn"),
        ({"cell": "a:B", "initializer": "chrono"}, "initializer: must be orthogonal or identity for cell a:B"),
        ({"cell": "a:B", "activation": "relu"}, "activation: must be tanh for cell a:B"),
    ],
)
def test_what_a_cell_cannot_have_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        Settings.of(given)
