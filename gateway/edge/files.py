"""Files that Envoy reads: each is there as a whole or not at all, and for this user alone."""

from pathlib import Path


def move_into_place(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(path)
