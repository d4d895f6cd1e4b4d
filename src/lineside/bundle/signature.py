"""Who made this bundle: an Ed25519 signature (RFC 8032) over the bytes of manifest.json, which hold every other hash.

signature.json: {"algorithm": "Ed25519", "key": the public key's 32 bytes in hex, "signature": 64 bytes in hex}. The
key in it is a name, not a proof: who changes a bundle can sign it with another. Only `verify --key PUB` proves.

Make a key pair once, keep key.pem secret, give key.pub.pem to whoever verifies:

    openssl genpkey -algorithm ed25519 -out key.pem && chmod 600 key.pem
    openssl pkey -in key.pem -pubout -out key.pub.pem
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lineside import settings
from lineside.errors import BundleError, SettingsError
from lineside.private import private_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAKE = "make one with: openssl genpkey -algorithm ed25519 -out key.pem && chmod 600 key.pem"
MAKE_PUBLIC = "write it with: openssl pkey -in key.pem -pubout -out key.pub.pem"


@dataclass(frozen=True, slots=True)
class Signature:
    algorithm: Literal["Ed25519"]
    key: str
    signature: str


def load_private(path: Path) -> "Ed25519PrivateKey":
    """A private key from a PEM file that only its owner can read; SettingsError says what is wrong with it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path, MAKE)
    private_file(path, "a private key")  # whoever has it can sign
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise SettingsError(
            f"{path}: the key has a passphrase; take it off for this machine with: openssl pkey -in {path} -out key.pem"
        ) from None
    except Exception as error:  # cryptography: ValueError, UnsupportedAlgorithm
        raise SettingsError(f"{path}: not a private key in PEM ({_first(error)}); {MAKE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path}: not an Ed25519 key; {MAKE}")
    return key


def load_public(path: Path) -> "Ed25519PublicKey":
    """A public key from a PEM file; SettingsError says what is wrong with it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path, MAKE_PUBLIC)
    if b"PRIVATE KEY" in data:
        raise SettingsError(
            f"{path}: this is the private key, keep it secret; verify needs the public one: {MAKE_PUBLIC}"
        )
    try:
        key = load_pem_public_key(data)
    except Exception as error:  # cryptography: ValueError, UnsupportedAlgorithm
        raise SettingsError(f"{path}: not a public key in PEM ({_first(error)}); {MAKE_PUBLIC}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{path}: not an Ed25519 key; {MAKE}")
    return key


def sign(manifest: bytes, key: "Ed25519PrivateKey") -> bytes:
    """signature.json over the bytes of manifest.json."""
    text = {"algorithm": "Ed25519", "key": fingerprint(key.public_key()), "signature": key.sign(manifest).hex()}
    return (json.dumps(text, indent=1) + "\n").encode()


def check(manifest: bytes, signature: bytes | None, key: "Ed25519PublicKey | None", where: str) -> str | None:
    """The hex of the key that signed these manifest bytes; None where there is no signature and no key was asked for.

    With a key, only its signature will do. BundleError says what is wrong.
    """
    if signature is None:
        if key is None:
            return None
        raise BundleError(
            f"{where}: is not signed, and a signature by {fingerprint(key)[:16]}… was asked for; "
            "sign it where it was made with: lineside export BUNDLE --sign KEY"
        )
    found = _parse(signature, f"{where}/signature.json")
    if key is not None and found.key != fingerprint(key):
        raise BundleError(
            f"{where}: signature.json: was signed by the key {found.key[:16]}…, not by {fingerprint(key)[:16]}…; "
            "it comes from someone else, or the wrong key was named"
        )
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = key or Ed25519PublicKey.from_public_bytes(bytes.fromhex(found.key))
        public.verify(bytes.fromhex(found.signature), manifest)
    except (InvalidSignature, ValueError):
        raise BundleError(
            f"{where}: the signature does not fit manifest.json: one of the two was changed after signing; "
            "take the bundle from its source again"
        ) from None
    return found.key


def _parse(data: bytes, where: str) -> Signature:
    try:
        return settings.read_json(Signature, data, where)
    except (SettingsError, RecursionError) as error:
        raise BundleError(f"{error}; the signature is damaged, take the bundle from its source again") from None


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: the key can not be read ({error.strerror}); {remedy}") from None


def fingerprint(key: "Ed25519PublicKey") -> str:
    """The key's 32 bytes in hex: its name."""
    return key.public_bytes_raw().hex()


def _first(error: Any) -> str:
    return str(error).split(".")[0][:120] or type(error).__name__
