"""buf's checks find what they are for."""

import subprocess
from pathlib import Path

import pytest

from gateway.contract.buf import base_revision, breaking, image_of, lint, main, unformatted
from tests.gateway.tiny import Tiny


def _image(tiny: Tiny, path: Path) -> Path:
    path.write_bytes(tiny.contract().image)
    return path


def test_the_contract_passes_offline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--against", "HEAD"]) == 0
    assert capsys.readouterr().out.count(": ok") == 3


def test_lint_finds_a_service_that_is_not_called_so(tmp_path: Path) -> None:
    image = _image(Tiny.write(tmp_path, ("service TinyService", "service Tiny")), tmp_path / "image.binpb")
    assert 'Service name "Tiny" should be suffixed with "Service"' in lint(image)


def test_breaking_finds_a_field_that_is_gone(tmp_path: Path) -> None:
    base = _image(Tiny.write(tmp_path), tmp_path / "base.binpb")
    changed = Tiny.write(tmp_path / "new", ("string etag = 2;", ""), ("        etag: true\n", ""))
    assert 'Previously present field "2"' in breaking(_image(changed, tmp_path / "new.binpb"), base)
    assert breaking(base, base) == ""


def test_format_finds_a_crooked_line(tmp_path: Path) -> None:
    assert unformatted(Tiny.write(tmp_path).protos) == ""
    assert "+  string etag = 2;" in unformatted(
        Tiny.write(tmp_path / "new", ("  string etag", "      string etag")).protos
    )


def test_main_is_compared_with_unless_it_is_this_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "empty")
    assert base_revision(tmp_path, None) is None
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "commerce.binpb").write_bytes(b"image")
    git("add", ".")
    git("commit", "-q", "-m", "image")
    assert base_revision(tmp_path, None) is None
    git("commit", "-q", "--allow-empty", "-m", "next")
    assert base_revision(tmp_path, None) == "HEAD^"
    assert image_of(tmp_path, "HEAD^") == b"image"
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert base_revision(tmp_path, None) == "HEAD^"
    git("update-ref", "refs/remotes/origin/main", "HEAD^")
    assert base_revision(tmp_path, None) == "origin/main"
    assert base_revision(tmp_path, "v1") == "v1"
