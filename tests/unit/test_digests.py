import hashlib
from pathlib import Path

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
