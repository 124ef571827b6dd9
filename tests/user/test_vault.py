"""What is personal can be read with its keys, in its place, and not otherwise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.parts.keys import new_key
from services.user.accounts.emails import canonical_email
from services.user.privacy.domain import Personal, Sealed
from services.user.privacy.keys import KeyFile, key_file, read_keys
from services.user.privacy.vault import CannotRead, Vault
from tests.support.vaults import make_key_file

ADA = Personal("Ada@Example.com", "Ada L.")
EMAIL = canonical_email(ADA.email)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_key_file(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(path: Path, clock: Clock) -> Vault:
    return Vault(KeyFile(path, clock), clock)


def rewrite(path: Path, clock: Clock, change: Callable[[str], str]) -> None:
    """Replace the key file, and pass the time until it is looked at."""
    text = change(path.read_text())
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
    clock.now += 2


def test_what_is_sealed_opens_and_shows_nothing(vault: Vault) -> None:
    sealed = vault.seal(uuid4(), ADA)
    assert vault.read(sealed) == ADA
    kept = sealed.email + sealed.display_name + sealed.wrapped_key
    assert not any(word in kept for word in (b"Ada", b"example", b"Example"))
    assert vault.seal(sealed.user_id, ADA).email != sealed.email
    assert "key" not in repr(vault.keys).replace("Keys", "").lower()


def test_what_is_sealed_has_the_lengths_that_the_schema_asks_for(vault: Vault) -> None:
    for personal in (Personal("", ""), Personal("e" * 254, "\U0001f600" * 200)):
        sealed = vault.seal(uuid4(), personal)
        assert len(sealed.wrapped_key) == 65
        assert 33 <= len(sealed.email) <= 287
        assert 33 <= len(sealed.display_name) <= 833


@pytest.mark.parametrize(
    "moved",
    [
        lambda sealed: replace(sealed, user_id=uuid4()),
        lambda sealed: replace(sealed, email=sealed.display_name, display_name=sealed.email),
        lambda sealed: replace(sealed, email=sealed.email[:-1] + bytes([sealed.email[-1] ^ 1])),
        lambda sealed: replace(sealed, key_version=2),
    ],
)
def test_nothing_opens_in_another_place_than_its_own(path: Path, moved: Callable[[Sealed], Sealed]) -> None:
    sealed = Vault(KeyFile(path)).seal(uuid4(), ADA)
    with pytest.raises(CannotRead):
        # One that has unwrapped nothing yet.
        Vault(KeyFile(path)).read(moved(sealed))


def test_without_the_key_that_wraps_it_nothing_opens(vault: Vault, path: Path, clock: Clock) -> None:
    sealed = vault.seal(uuid4(), ADA)
    rewrite(path, clock, lambda text: text.replace("kek 1", "kek 2"))
    with pytest.raises(CannotRead, match="kek 1"):
        Vault(KeyFile(path, clock), clock).read(sealed)


def test_an_unwrapped_key_is_kept_for_a_minute_unless_its_person_is_erased(
    vault: Vault, path: Path, clock: Clock
) -> None:
    sealed = vault.seal(uuid4(), ADA)
    assert vault.read(sealed) == ADA
    rewrite(path, clock, lambda text: text.replace("kek 1", "kek 2"))
    assert vault.read(sealed) == ADA
    clock.now += 60
    with pytest.raises(CannotRead):
        vault.read(sealed)
    other = vault.seal(uuid4(), ADA)
    assert vault.read(other) == ADA
    vault.forget([other.wrapped_key])
    rewrite(path, clock, lambda text: text.replace("kek 2", "kek 3"))
    with pytest.raises(CannotRead):
        vault.read(other)


def test_a_key_more_in_the_file_wraps_what_is_new_and_the_old_one_still_opens(
    vault: Vault, path: Path, clock: Clock
) -> None:
    old = vault.seal(uuid4(), ADA)
    rewrite(path, clock, lambda text: f"{text}kek 2 {new_key()}\n")
    new = vault.seal(uuid4(), ADA)
    assert (old.wrapped_key[4], new.wrapped_key[4]) == (1, 2)
    again = replace(old, wrapped_key=vault.wrap_again(old.data_key).wrapped_key)
    assert again.wrapped_key[4] == 2
    rewrite(path, clock, lambda text: "".join(text.splitlines(keepends=True)[1:]))
    clock.now += 60
    assert vault.read(again) == vault.read(new) == ADA


def test_an_address_is_found_by_each_index_key_whatever_its_case(
    vault: Vault, path: Path, clock: Clock
) -> None:
    [first] = vault.digests(EMAIL)
    assert vault.digests(canonical_email("ADA@example.COM")) == [first]
    rewrite(path, clock, lambda text: f"{text}index 2 {new_key()}\n")
    both = vault.digests(EMAIL)
    assert both[0] == first
    assert [each.key_version for each in both] == [1, 2]
    assert both[1].digest != first.digest


def test_a_file_that_breaks_leaves_the_keys_as_they_were(vault: Vault, path: Path, clock: Clock) -> None:
    sealed = vault.seal(uuid4(), ADA)
    for text in ("", "kek 1\n", "not a key file"):
        rewrite(path, clock, lambda _, text=text: text)  # type: ignore[misc]
        assert vault.read(sealed) == ADA
    path.unlink()
    clock.now += 2
    assert vault.read(sealed) == ADA


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no line of kek"),
        ("kek 1 KEY\ndata 1\n", "no line of index"),
        ("kek 1 KEY\nindex 1 KEY\n", "no line of data"),
        ("kek 1 KEY\nkek 1 KEY\n", "two keys of kek 1"),
        ("kek 0 KEY\n", "line 1"),
        ("kek one KEY\n", "line 1"),
        ("key 1 KEY\n", "line 1"),
        ("kek 1 SHORT\n", "line 1"),
        ("kek 1 secret!\n", "line 1"),
        ("kek 1\n", "line 1"),
        ("data 1 KEY\n", "line 1"),
        ("kek 1 KEY more\n", "line 1"),
    ],
)
def test_a_key_file_that_is_none_is_refused_and_no_key_is_told(text: str, told: str) -> None:
    text = text.replace("KEY", new_key()).replace("SHORT", new_key()[:20])
    with pytest.raises(ValueError, match=told) as refused:
        read_keys(text)
    assert not [word for word in text.split() if len(word) > 6 and word in str(refused.value)]


def test_the_setting_names_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a readable file"):
        key_file(str(tmp_path / "nothing"))
