"""The local authority: who each leaf speaks for, how long, and how all of it is renewed while it is used."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from deploy.local.parts.certificates import (
    AUTHORITY_LIFETIME,
    IDENTITIES,
    LEAF_LIFETIME,
    PUBLIC,
    Authority,
    FolderRefused,
    NameRefused,
)
from services.roster import GATEWAY, NAMES

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "certificates")
    made.issue_missing(NOW)
    return made


def leaf(authority: Authority, identity: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.files(identity).cert.read_bytes())


def trusted(authority: Authority, identity: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.files(identity).ca.read_bytes())


def alternative_names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def is_signed_by_one_of(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> bool:
    issuer = next((each for each in authorities if each.subject == certificate.issuer), None)
    if issuer is None:
        return False
    certificate.verify_directly_issued_by(issuer)
    return True


@pytest.mark.parametrize("identity", IDENTITIES)
def test_leaf_names_its_identity_by_spiffe_id(authority: Authority, identity: str) -> None:
    assert f"spiffe://commerce.local/{identity}" in alternative_names(leaf(authority, identity))


def test_the_public_face_speaks_for_no_identity(authority: Authority) -> None:
    assert alternative_names(leaf(authority, PUBLIC)) == ["localhost", "127.0.0.1"]


@pytest.mark.parametrize("identity", [*IDENTITIES, PUBLIC])
def test_only_services_the_app_and_the_public_face_may_be_servers(
    authority: Authority, identity: str
) -> None:
    usage = leaf(authority, identity).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usage) == (identity in (*NAMES, GATEWAY, PUBLIC))
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in usage) == (identity != PUBLIC)


def test_private_keys_are_read_by_their_owner_only(authority: Authority) -> None:
    folder = authority.files("user").cert.parents[1]
    keys = list(folder.rglob("*.key"))
    assert len(keys) == len(authority.identities) + 1
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_leaves_live_for_a_day(authority: Authority) -> None:
    certificate = leaf(authority, "order")
    assert certificate.not_valid_after_utc - NOW == LEAF_LIFETIME


def test_nothing_is_renewed_before_half_of_its_life(authority: Authority) -> None:
    before = leaf(authority, "order")
    authority.issue_missing(NOW + LEAF_LIFETIME / 2 - timedelta(hours=1))
    assert leaf(authority, "order") == before


def test_a_leaf_is_renewed_at_half_of_its_life(authority: Authority) -> None:
    before = leaf(authority, "order")
    later = NOW + LEAF_LIFETIME / 2
    assert authority.is_due(later)
    authority.issue_missing(later)
    assert leaf(authority, "order").serial_number != before.serial_number
    assert not authority.is_due(later)


def test_rotation_moves_new_files_into_place(authority: Authority) -> None:
    files = authority.files("user")
    for path in (files.cert, files.key):
        old = path.read_bytes()
        with path.open("rb") as held_open:
            authority.rotate(NOW + timedelta(minutes=1))
            assert path.read_bytes() != old
            assert held_open.read() == old, "a reader sees the old file whole, never a mixture"


def test_rotated_key_fits_its_certificate(authority: Authority) -> None:
    authority.rotate(NOW + timedelta(minutes=1))
    files = authority.files("user")
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert key.public_key() == leaf(authority, "user").public_key()


def test_an_authority_is_trusted_a_rotation_before_it_signs(authority: Authority) -> None:
    """Whoever has not reloaded yet still trusts the leaves of whoever has."""
    now = NOW + AUTHORITY_LIFETIME / 2
    seen = {trusted(authority, "user")[0].serial_number}
    for _ in range(4):
        trusted_before, leaf_before = trusted(authority, "user"), leaf(authority, "order")
        authority.rotate(now)
        assert is_signed_by_one_of(leaf(authority, "order"), trusted_before)
        assert is_signed_by_one_of(leaf_before, trusted(authority, "user"))
        seen |= {each.serial_number for each in trusted(authority, "user")}
        now += LEAF_LIFETIME / 2
    assert len(seen) > 1, "the authority itself was renewed"


def test_an_authority_near_its_end_is_replaced_with_all_its_leaves(authority: Authority) -> None:
    now = NOW + AUTHORITY_LIFETIME - timedelta(hours=1)
    authority.issue_missing(now)
    assert trusted(authority, "user")[0].not_valid_after_utc == now + AUTHORITY_LIFETIME
    assert is_signed_by_one_of(leaf(authority, "order"), trusted(authority, "user"))


def test_service_from_outside_is_named_as_the_others_and_is_no_server(authority: Authority) -> None:
    files = authority.issue_outside("notifier", NOW)
    certificate = leaf(authority, "notifier")
    assert alternative_names(certificate) == ["spiffe://commerce.local/notifier"]
    assert is_signed_by_one_of(certificate, trusted(authority, "order"))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700


def test_service_from_outside_is_renewed_with_the_mesh_and_trusts_its_next_authority(
    authority: Authority,
) -> None:
    authority.issue_outside("notifier", NOW)
    before = leaf(authority, "notifier")
    authority.issue_missing(NOW + LEAF_LIFETIME / 2)
    renewed = leaf(authority, "notifier")
    assert renewed.serial_number != before.serial_number
    authority.issue_missing(NOW + AUTHORITY_LIFETIME)
    assert is_signed_by_one_of(leaf(authority, "notifier"), trusted(authority, "order"))
    assert "notifier" in {each.identity for each in authority.statuses()}


def test_files_that_lie_elsewhere_are_theirs_to_renew(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue_outside("notifier", NOW, tmp_path / "mine")
    before = files.cert.read_bytes()
    authority.rotate(NOW + LEAF_LIFETIME / 2)
    assert files.cert.read_bytes() == before
    assert sorted(each.name for each in (tmp_path / "mine").iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert "notifier" not in authority.identities


@pytest.mark.parametrize("place", ["order", "notifier", "", "new/deeper", "../certificates/order"])
def test_folder_inside_the_authoritys_own_is_no_place_for_others(authority: Authority, place: str) -> None:
    folder = authority.files("order").cert.parents[1]
    before = sorted(folder.rglob("*")), authority.statuses()
    with pytest.raises(FolderRefused):
        authority.issue_outside("notifier", NOW + timedelta(hours=1), folder / place)
    assert (sorted(folder.rglob("*")), authority.statuses()) == before


def test_link_into_the_authoritys_folder_is_no_way_in(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(authority.files("order").cert.parent)
    before = leaf(authority, "order")
    with pytest.raises(FolderRefused):
        authority.issue_outside("notifier", NOW, tmp_path / "elsewhere")
    assert leaf(authority, "order") == before


@pytest.mark.parametrize(
    "name", [*IDENTITIES, PUBLIC, "", "Notifier", "../order", "a/b", "-a", "a" * 64, "a\n"]
)
def test_name_of_the_mesh_or_of_no_service_gets_no_certificate(authority: Authority, name: str) -> None:
    before = authority.statuses()
    with pytest.raises(NameRefused):
        authority.issue_outside(name, NOW + timedelta(hours=1))
    assert authority.statuses() == before


@pytest.mark.parametrize("shows_certificate", [True, False])
def test_mutual_tls_needs_a_certificate_of_the_authority(
    certificates: Authority, *, shows_certificate: bool
) -> None:
    server_files, client_files = certificates.files("user"), certificates.files("order")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(server_files.cert, server_files.key)
    server.load_verify_locations(server_files.ca)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(client_files.ca))
    if shows_certificate:
        client.load_cert_chain(client_files.cert, client_files.key)

    assert _can_talk(server, client) == shows_certificate


def _can_talk(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as connection:
                connection.sendall(b"hello")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname="user.commerce.local") as connection:
            return connection.recv(5) == b"hello"
    except OSError:
        return False
    finally:
        thread.join()
