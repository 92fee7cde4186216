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


def test_code_that_imports_nothing_of_the_package_is_that_module_alone() -> None:
    source = Path(digests.__file__).read_bytes()
    expected = hashlib.sha256(f"{hashlib.sha256(source).hexdigest()}\ndigests.py".encode()).hexdigest()
    assert expected == digests.of_code("digests.py")


def package(folder: Path, **sources: str) -> Path:
    """Write the modules of a package, ``a__b`` for ``a/b.py``."""
    for name, source in sources.items():
        path = folder / "house" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder / "house"


def test_the_closure_of_a_module_is_all_that_it_imports_however_far(tmp_path: Path) -> None:
    house = package(
        tmp_path,
        top="from house import middle\nimport numpy",
        middle="def later():\n    from house.rooms.bottom import thing",
        rooms__bottom="from house import circle",
        circle="import house.middle",
        other="from house import top",
    )
    assert ["circle.py", "middle.py", "rooms/bottom.py", "top.py"] == digests.closure("top.py", package=house)


def test_what_only_the_type_checker_imports_is_not_of_the_closure(tmp_path: Path) -> None:
    house = package(
        tmp_path,
        top="if TYPE_CHECKING:\n    from house import typed\nelse:\n    from house import run",
        typed="",
        run="",
    )
    assert ["run.py", "top.py"] == digests.closure("top.py", package=house)
