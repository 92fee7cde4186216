"""How much room files take."""

from pathlib import Path


def bytes_in(path: Path) -> int:
    """Return the bytes of a file, or of all files in and below a folder; what is not there takes none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())


def shown(size: float) -> str:
    """Return such as '12 bytes', '3.4 kB', '56 MB'."""
    if size < 1_000:  # noqa: PLR2004 - SI prefixes
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1_000
        if size < 999.5 or unit == "GB":  # noqa: PLR2004
            break
    return f"{size:.1f} {unit}" if size < 10 else f"{size:,.0f} {unit}"  # noqa: PLR2004
