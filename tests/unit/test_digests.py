import hashlib
from pathlib import Path

import pytest

from pipeline import digests

# The test vectors for "abc" of FIPS 180-4 and RFC 1321.
SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
MD5_ABC = "900150983cd24fb0d6963f7d28e17f72"


def test_a_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert SHA256_ABC == digests.of_file(tmp_path / "file")
    assert MD5_ABC == digests.of_file(tmp_path / "file", "md5")


def test_texts_count_in_their_order_and_apart() -> None:
    assert SHA256_ABC == digests.of_texts("abc")
    assert hashlib.sha256(b"ab\nc").hexdigest() == digests.of_texts("ab", "c")
    assert digests.of_texts("ab", "c") != digests.of_texts("c", "ab")
    assert digests.of_texts("ab", "c") != digests.of_texts("a", "bc")


def test_modules_are_those_of_the_package() -> None:
    source = Path(digests.__file__).read_bytes()
    expected = hashlib.sha256(hashlib.sha256(source).hexdigest().encode()).hexdigest()
    assert expected == digests.of_modules("digests.py")


PARAMETERS = {"cell": "gru", "seed": 1, "data_dir": Path("data"), "source": "mirrors", "dataset": "mnist"}


def test_trainings_with_the_same_parameters_data_and_code_are_twins() -> None:
    assert digests.of_training(PARAMETERS, "abc") == digests.of_training(dict(reversed(PARAMETERS.items())), "abc")


@pytest.mark.parametrize("other", [{"seed": 2}, {"cell": "rnn"}])
def test_another_parameter_makes_another_training(other: dict[str, object]) -> None:
    assert digests.of_training(PARAMETERS, "abc") != digests.of_training(PARAMETERS | other, "abc")


@pytest.mark.parametrize("other", [{"data_dir": Path("elsewhere")}, {"source": "/folder"}, {"dataset": "custom"}])
def test_where_the_data_lies_and_its_name_make_no_difference_but_its_content_does(other: dict[str, object]) -> None:
    assert digests.of_training(PARAMETERS, "abc") == digests.of_training(PARAMETERS | other, "abc")
    assert digests.of_training(PARAMETERS, "abc") != digests.of_training(PARAMETERS, "abd")


def test_other_code_makes_another_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests.of_training(PARAMETERS, "abc")
    monkeypatch.setattr(digests, "version", lambda package: "another")
    assert before != digests.of_training(PARAMETERS, "abc")
