"""No pickle in a bundle: reading one runs whatever program its author put in.

By name, and by content whatever the name: a pickle of any protocol, and a .zip with pickles inside (what torch.save
writes). Nothing is ever unpickled here: pickletools only reads the opcodes.
"""

import io
import pickletools
import zipfile
from pathlib import PurePosixPath

from lineside.errors import BundleError

SUFFIXES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npy", ".npz", ".p", ".dill"})
MANY = 10_000  # opcodes that no other kind of file begins with


def refuse_pickle_name(where: str, name: str) -> None:
    """BundleError if the name says pickle."""
    if PurePosixPath(name.lower()).suffix in SUFFIXES:
        raise _refusal(where)


def refuse_pickle(data: bytes, where: str) -> None:
    """BundleError if the content is a pickle or an archive that holds one."""
    if _opcodes(data) or _archive(data):
        raise _refusal(where)


def _refusal(where: str) -> BundleError:
    return BundleError(
        f"{where}: is a pickle; opening one runs the program inside it, so a bundle never holds one: "
        "weights go into .safetensors or .onnx"
    )


def _opcodes(data: bytes) -> bool:
    """Whether data begins as a pickle: the stream runs to STOP, or its header is followed by more opcodes."""
    seen = 0
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(data)):  # ends at the first byte that is no opcode
            seen += 1
            if opcode.name == "STOP" or seen == MANY:
                return seen > 1
    except Exception:  # genops: ValueError, UnicodeDecodeError, IndexError, OverflowError … all mean "no pickle"
        pass
    return data[:1] == b"\x80" and seen >= 3  # PROTO and two more


def _archive(data: bytes) -> bool:
    if not data.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
    return any(PurePosixPath(name.lower()).suffix in SUFFIXES for name in names)
