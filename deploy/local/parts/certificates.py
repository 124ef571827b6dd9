"""The local certificate authority: leaf certificates per identity, rotated while their holders run.

A leaf names its holder by the URI SAN spiffe://commerce.local/<identity> (SPIFFE X.509-SVID, section 2).
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.errors import MeshError
from deploy.local.files import make_private_folder, replace_file
from deploy.local.layout import tls_files, tls_files_in
from services.roster import EDGE, GATEWAY, NAMES, OTHER_CALLERS, RATE_LIMITS, TRUST_DOMAIN
from services.settings import TlsFiles

IDENTITIES = (*NAMES, EDGE, *OTHER_CALLERS)
# The edge's face to browsers and other outsiders: names a host, speaks for no service.
PUBLIC = "public"

AUTHORITY_LIFETIME = timedelta(days=30)
LEAF_LIFETIME = timedelta(hours=24)
# Clocks of one machine agree; those of containers started together nearly do.
_BACKDATED = timedelta(minutes=5)
# Of services from outside: the last segment of a SPIFFE id, and a folder.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class NameRefused(MeshError):
    """No certificate is issued to this name."""


class FolderRefused(MeshError):
    """No certificate is written to this folder."""


@dataclass(frozen=True)
class CertificateStatus:
    """What a certificate says of itself."""

    identity: str
    # Every alternative name, a space in between.
    names: str
    not_before: datetime
    not_after: datetime
    serial: str


class Authority:
    """A certificate authority in a folder of its own, and the leaves it has issued there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key_path = folder / "ca.key"
        self._cert_path = folder / "ca.crt"
        self._next_key_path = folder / "ca.next.key"
        self._next_cert_path = folder / "ca.next.crt"
        self._previous_cert_path = folder / "ca.previous.crt"

    @property
    def identities(self) -> tuple[str, ...]:
        """Everyone who gets a leaf, and those from outside who were issued one here."""
        issued = {path.parent.name for path in self._folder.glob("*/tls.key")}
        return (*IDENTITIES, PUBLIC, *sorted(issued - {*IDENTITIES, PUBLIC}))

    def files(self, identity: str) -> TlsFiles:
        """Name an identity's files; they exist after the first `issue_missing`."""
        return tls_files(self._folder, identity)

    def issue_missing(self, now: datetime) -> None:
        """Make what is not there yet and renew what is past half of its life. May be repeated."""
        self._ensure_authority(now)
        for identity in self.identities:
            if self._is_stale(identity, now):
                self._issue(identity, now)

    def issue_outside(self, name: str, now: datetime, folder: Path | None = None) -> TlsFiles:
        """Issue a certificate to a service that is not of the mesh. May be repeated.

        It calls with it; only the service that counts for several edges may be called with it too.

        Args:
            name: The last segment of its SPIFFE id.
            now: It holds from now on, for LEAF_LIFETIME.
            folder: Where its files are to lie. None: beside the mesh's own, and renewed with them.

        Raises:
            NameRefused: it is the name of a part of the mesh, or none that a service may have.
            FolderRefused: it lies in the authority's own, where a part of the mesh would show the files.
        """
        if name in (*IDENTITIES, PUBLIC):
            raise NameRefused(f"{name} is a part of the mesh.", "Its certificate is there: `mesh certs`.")
        if not _NAME.fullmatch(name):
            raise NameRefused(f"A service cannot be called {name!r}.", "Take a-z, 0-9 and -, a letter first.")
        if folder is not None and folder.resolve().is_relative_to(self._folder.resolve()):
            raise FolderRefused(
                f"{folder} lies in the mesh's own {self._folder}.",
                "Name another folder; without --out the files lie there under the service's name.",
            )
        files = self.files(name) if folder is None else tls_files_in(folder)
        self._write(name, files, now)
        return files

    def rotate(self, now: datetime) -> None:
        """Renew every leaf now, and move the authority one step on when it is past half of its life."""
        self._ensure_authority(now)
        self._advance_authority(now)
        for identity in self.identities:
            self._issue(identity, now)

    def is_due(self, now: datetime) -> bool:
        """Tell whether any leaf is past half of its life."""
        return any(self._is_stale(identity, now) for identity in self.identities)

    def statuses(self) -> list[CertificateStatus]:
        """Describe the leaves as they lie on disk."""
        return [_describe(identity, _load(self.files(identity).cert)) for identity in self.identities]

    def _ensure_authority(self, now: datetime) -> None:
        make_private_folder(self._folder)
        if self._cert_path.exists() and self._key_path.exists():
            authority = _load(self._cert_path)
            if authority.not_valid_after_utc - now > 2 * LEAF_LIFETIME:
                return
        # Nobody runs with leaves of an authority this old: they would be as good as expired.
        self._next_cert_path.unlink(missing_ok=True)
        self._previous_cert_path.unlink(missing_ok=True)
        _make_authority(self._key_path, self._cert_path, now)
        for identity in self.identities:
            self.files(identity).cert.unlink(missing_ok=True)

    def _advance_authority(self, now: datetime) -> None:
        """Announce the next authority in one rotation and sign with it from the following one on.

        Everyone trusts an authority at least one rotation before anyone shows a leaf of it.
        """
        if self._next_cert_path.exists():
            replace_file(self._previous_cert_path, self._cert_path.read_bytes(), mode=0o644)
            self._next_key_path.rename(self._key_path)
            self._next_cert_path.rename(self._cert_path)
        elif _is_past_half(_load(self._cert_path), now):
            _make_authority(self._next_key_path, self._next_cert_path, now)

    def _trusted(self, now: datetime) -> bytes:
        candidates = (self._cert_path, self._next_cert_path, self._previous_cert_path)
        present = [path for path in candidates if path.exists()]
        return b"".join(path.read_bytes() for path in present if _load(path).not_valid_after_utc > now)

    def _is_stale(self, identity: str, now: datetime) -> bool:
        path = self.files(identity).cert
        if not path.exists():
            return True
        cert = _load(path)
        # One from before may lack a name that its holder serves under now.
        return _is_past_half(cert, now) or _names_of(cert) != _alternative_names(identity)

    def _issue(self, identity: str, now: datetime) -> None:
        self._write(identity, self.files(identity), now)

    def _write(self, identity: str, files: TlsFiles, now: datetime) -> None:
        make_private_folder(files.cert.parent)
        key = ec.generate_private_key(ec.SECP256R1())
        authority, authority_key = _load(self._cert_path), _load_key(self._key_path)
        leaf = _leaf(identity, key.public_key(), authority, now).sign(authority_key, hashes.SHA256())
        # Readers that meet the new key with the old certificate keep what they have until both fit.
        replace_file(files.ca, self._trusted(now), mode=0o644)
        replace_file(files.key, _private_pem(key))
        replace_file(files.cert, leaf.public_bytes(serialization.Encoding.PEM), mode=0o644)


def ensure_signing_key(path: Path) -> Path:
    """Make the Ed25519 key that signs access tokens, PKCS #8 in PEM, unless it is there."""
    if not path.exists():
        replace_file(path, _private_pem(ed25519.Ed25519PrivateKey.generate()))
    return path


def _private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} does not hold an elliptic-curve key")
    return key


def _is_past_half(certificate: x509.Certificate, now: datetime) -> bool:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) / 2


def _name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Commerce Mesh (local)")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _make_authority(key_path: Path, cert_path: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"local authority of {now:%Y-%m-%d %H:%M:%S}")
    builder = (
        _certificate(name, name, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    replace_file(key_path, _private_pem(key))
    certificate = builder.sign(key, hashes.SHA256())
    replace_file(cert_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _leaf(
    identity: str, public_key: ec.EllipticCurvePublicKey, authority: x509.Certificate, now: datetime
) -> x509.CertificateBuilder:
    issuer_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _certificate(_name(identity), authority.subject, public_key, now, LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_extended_usages(identity)), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(identity)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False
        )
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _extended_usages(identity: str) -> list[x509.ObjectIdentifier]:
    if identity in (*NAMES, GATEWAY, RATE_LIMITS):
        return [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return [ExtendedKeyUsageOID.SERVER_AUTH if identity == PUBLIC else ExtendedKeyUsageOID.CLIENT_AUTH]


def _alternative_names(identity: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    if identity != PUBLIC:
        names.append(x509.UniformResourceIdentifier(spiffe_id(identity)))
    if identity in NAMES:
        # gRPC's clients compare host names, never URIs: by this one they know whom they reached.
        names.append(x509.DNSName(f"{identity}.{TRUST_DOMAIN}"))
    if identity in (*NAMES, GATEWAY, PUBLIC):
        names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return names


def spiffe_id(identity: str) -> str:
    """Name an identity in the local trust domain."""
    return f"spiffe://{TRUST_DOMAIN}/{identity}"


def _names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _describe(identity: str, certificate: x509.Certificate) -> CertificateStatus:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return CertificateStatus(
        identity=identity,
        names=" ".join(str(name.value) for name in names),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
    )
