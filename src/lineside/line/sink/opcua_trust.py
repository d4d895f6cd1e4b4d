"""Who may talk to the OPC UA server: its own certificate, the clients' certificates, and users.

A folder, made on first use with mode 0700:
    own/certificate.der own/key.pem   made once; the key with mode 0600. Give the certificate to the clients
    trusted/*.der                     one certificate per client that may connect; read anew at every connection
    rejected/*.der                    what was refused, newest 20: move one to trusted/ to let that client in
    users                             NAME:scrypt:SALT:HASH:ROLE, one a line (RFC 7914), made by `main` below

A client is trusted by its exact certificate, within its dates, and proves that it has the key by opening the encrypted
channel. Certificates of authorities and revocation lists are not looked at. A user without a role looks.
"""

import hashlib
import hmac
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lineside.errors import LineError, SettingsError
from lineside.private import private_file

CERTIFICATE_DAYS = 3650
REJECTED = 20
SCRYPT = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB and about 40 ms: RFC 7914's interactive login
NO_USER = b"no such user"  # hashed in place of a user who is not there, so that both take as long
TRIES, REST_S = 5, 60.0  # so many wrong passwords in a row, and none of that client's is looked at for so long
Role = Literal["look", "steer"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Account:
    salt: bytes
    digest: bytes
    role: Role = "look"  # steer: may order, where the line takes orders


def private_folder(path: Path, uri: str, host: str, now: datetime) -> tuple[Path, Path]:
    """(certificate, key) of the server; makes what is missing. SettingsError where others can read the key."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("own", "trusted", "rejected"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LineError(f"{path}: can not be made ({error.strerror}); name a writable folder by pki=") from None
    certificate, key = path / "own" / "certificate.der", path / "own" / "key.pem"
    if not key.exists():
        _make(certificate, key, uri, host, now)
    private_file(key, "the server's key")
    return certificate, key


def trusts(path: Path, der: bytes, now: datetime) -> str:
    """Why the client of this certificate is refused; "" if it is trusted."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return "its certificate can not be read"
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return f"its certificate is valid from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}"
    if any(hmac.compare_digest(der, one.read_bytes()) for one in sorted((path / "trusted").glob("*.der"))):
        return ""
    name = hashlib.sha256(der).hexdigest()[:16] + ".der"
    _keep_rejected(path / "rejected", name, der)
    return f"its certificate is not trusted; to trust it: mv {path}/rejected/{name} {path}/trusted/"


def application(der: bytes) -> str:
    """What a certificate calls its client: by application URI, else by common name, else by a part of the hash."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        with suppress(x509.ExtensionNotFound):
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if uris := names.get_values_for_type(x509.UniformResourceIdentifier):
                return uris[0]
        if names := certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            return str(names[0].value)
    except ValueError:
        pass  # odd, and trusted all the same: byte for byte
    return hashlib.sha256(der).hexdigest()[:16]


class Tries:
    """Wrong passwords in a row, by the client's certificate: a trusted one, so there are few. Final."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic):
        self._monotonic = monotonic
        self._wrong: dict[bytes, tuple[int, float]] = {}  # how many, and when the last one was tried

    def rests(self, client: bytes) -> bool:
        """Whether nothing that this client says is looked at now."""
        wrong, last_s = self._wrong.get(client, (0, 0.0))
        return wrong >= TRIES and self._monotonic() - last_s < REST_S

    def tried(self, client: bytes, right: bool) -> bool:
        """A password was looked at; whether the client has to rest from now on."""
        if right:
            self._wrong.pop(client, None)
            return False
        self._wrong[client] = (self._wrong.get(client, (0, 0.0))[0] + 1, self._monotonic())
        return self.rests(client)


def password_line(name: str, password: str, salt: bytes, role: Role = "look") -> str:
    """One line of the users file."""
    if not name or ":" in name or not name.isprintable():
        raise SettingsError(f"{name!r}: a user's name is printable and has no colon")
    if len(password) < 8:
        raise SettingsError("a password has at least 8 characters")
    return f"{name}:scrypt:{salt.hex()}:{_hash(password, salt).hex()}:{role}"


def read_users(path: Path) -> dict[str, Account]:
    """Users by name. LineError names the line that is wrong; SettingsError a file that others can read."""
    if not path.exists():
        raise LineError(f"{path}: is not there, so nobody could log in; expected a file of users, {_how(path)}")
    private_file(path, "the users' passwords")
    users: dict[str, Account] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, kind, salt, digest, *rest = line.split(":")
            (role,) = rest or ["look"]  # files of before there were roles
            account = Account(bytes.fromhex(salt), bytes.fromhex(digest), role)  # pyright: ignore[reportArgumentType]
        except ValueError:
            raise LineError(f"{path}: line {number}: expected NAME:scrypt:SALT:HASH:ROLE, {_how(path)}") from None
        if role not in ROLES:
            raise LineError(f"{path}: line {number}: unknown role; expected {' or '.join(ROLES)}, {_how(path)}")
        if kind != "scrypt":
            raise LineError(f"{path}: line {number}: unknown kind of password; expected scrypt, {_how(path)}")
        users[name] = account
    if not users:
        raise LineError(f"{path}: no users in it, so nobody could log in; {_how(path)}")
    return users


def is_user(users: dict[str, Account], name: str, password: str) -> bool:
    account = users.get(name, Account(b"", NO_USER))
    return hmac.compare_digest(_hash(password, account.salt), account.digest)


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **SCRYPT)


def _how(path: Path) -> str:
    return f"such as made by: python -m lineside.line.sink.opcua_trust {path} NAME"


def _keep_rejected(folder: Path, name: str, der: bytes) -> None:
    (folder / name).write_bytes(der)
    for old in sorted(folder.glob("*.der"), key=lambda one: one.stat().st_mtime)[:-REJECTED]:
        old.unlink()


def _make(certificate: Path, key: Path, uri: str, host: str, now: datetime) -> None:
    """A self-signed certificate for an OPC UA application (OPC 10000-6, 6.2.2), RSA 2048."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Lineside on {host}"[:64])])
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    others = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(host)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(made.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(made.public_key()), critical=False)
        .add_extension(others, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(usage, critical=False)
        .add_extension(extended, critical=False)
    )
    certificate.write_bytes(builder.sign(made, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def main(arguments: list[str]) -> int:
    """python -m lineside.line.sink.opcua_trust FILE NAME [--role look|steer]: asks for a password, adds or replaces the
    user. Who steers may order what the line does, where its URL says orders=true; without --role a user looks."""
    from getpass import getpass

    role: Role = "look"
    if len(arguments) == 4 and arguments[2] == "--role" and arguments[3] in ROLES:
        role = arguments[3]  # pyright: ignore[reportAssignmentType]
    elif len(arguments) != 2:
        print(main.__doc__, file=sys.stderr)
        return 2
    path, name = Path(arguments[0]), arguments[1]
    password = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        line = password_line(name, password, secrets.token_bytes(16), role)
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if before:
            private_file(path, "the users' passwords")
    except (LineError, SettingsError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    kept = [one for one in before if one.partition(":")[0] != name]
    spare = path.with_name(path.name + ".new")
    with os.fdopen(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join([*kept, line]) + "\n")
    spare.replace(path)
    print(f"{name} may {'look and steer' if role == 'steer' else 'look'}")
    return 0


def now_utc() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
