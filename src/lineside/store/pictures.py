"""Pictures of parts, kept as files under the hash that their inspections hold.

    FOLDER/lineside-pictures.json     the folder's id; locked by who writes: one line at a time
    FOLDER/sha256/ab/ab12….png        the bytes of a file as it came, or the pixels of a camera's picture as PNG

A file is written beside, forced to the disk and renamed; only then the store promises it (`picture`), with the
inspection that speaks of it (`shown`). A picture of which several speak is there once. Deleting goes the other way
round: first the promise, then the file. So a crash can leave a file that nobody promised, never a promise without one.

What may go, oldest first: pictures all of whose inspections every durable sink has acknowledged. An inspection that the
store does not know yet may still be on its way there: its picture stays, for FRESH.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, exists, func, insert, or_, select, update

from lineside.errors import LineError
from lineside.store.chain import one_writer
from lineside.store.open import reading
from lineside.store.tables import FOLDER, INSPECTION, OUTBOX, PICTURE, SHOWN

MARK = "lineside-pictures.json"
UNFINISHED = "unfinished"
FRESH = timedelta(days=1)
BATCH = 64  # pictures a transaction when deleting: others write too


@dataclass(frozen=True, slots=True)
class Content:
    """One picture on its way into the folder."""

    sha256: str  # of the file's bytes, or of the pixels in row order
    form: Literal["file", "pixels"]
    suffix: str  # of the file, such as "png"
    data: bytes = field(repr=False)  # what the file will hold

    @property
    def file(self) -> str:
        return f"sha256/{self.sha256[:2]}/{self.sha256}.{self.suffix}"


class Folder:
    """A folder of pictures that this process alone writes to; not for several threads. Final."""

    def __init__(self, engine: Engine, path: Path, id: str, lock: int):
        self._engine, self._lock, self.path, self.id = engine, lock, path, id
        with reading(engine) as connection:
            found = select(func.coalesce(func.sum(PICTURE.c.bytes), 0)).where(PICTURE.c.folder == id)
            self.bytes = int(connection.execute(found).scalar_one())  # of all pictures in it

    def close(self) -> None:
        os.close(self._lock)

    def has(self, sha256: str) -> bool:
        """Whether it is promised, and there."""
        with reading(self._engine) as connection:
            row = self._row(connection, sha256)
        return row is not None and (self.path / row.file).is_file()

    def keep(self, content: Content, inspection_ids: Iterable[str], now: datetime) -> None:
        """Write it unless it is there, and promise it. OSError where the disk does not take it."""
        if not self.has(content.sha256):
            self._write(content)
        values = {"file": content.file, "form": content.form, "bytes": len(content.data), "seen": now}
        mine = {"folder": self.id, "sha256": content.sha256}
        with self._engine.begin() as connection:
            one_writer(connection)
            if row := self._row(connection, content.sha256):
                where = (PICTURE.c.folder == self.id, PICTURE.c.sha256 == content.sha256)
                connection.execute(update(PICTURE).where(*where).values(seen=now))
            else:
                connection.execute(insert(PICTURE), mine | values)
            where = (SHOWN.c.folder == self.id, SHOWN.c.sha256 == content.sha256)
            speak = set(connection.execute(select(SHOWN.c.inspection_id).where(*where)).scalars())
            if more := set(inspection_ids) - speak:
                connection.execute(insert(SHOWN), [mine | {"inspection_id": id} for id in sorted(more)])
        self.bytes += 0 if row else len(content.data)

    def make_room(self, quota: int, needed: int, now: datetime) -> bool:
        """Delete the oldest pictures that may go until so many bytes more fit; whether they do."""
        while self.bytes + needed > quota:
            if needed > quota or not self._delete(_acknowledged(now), self.bytes + needed - quota):
                return False
        return True

    def sweep(self) -> int:
        """Delete the pictures of which no inspection speaks any more; how many."""
        total = 0
        while gone := self._delete(~exists().where(_of(SHOWN)), None):
            total += gone
        return total

    def _row(self, connection: Connection, sha256: str) -> Any:
        query = select(PICTURE.c.file).where(PICTURE.c.folder == self.id, PICTURE.c.sha256 == sha256)
        return connection.execute(query).one_or_none()

    def _write(self, content: Content) -> None:
        target, unfinished = self.path / content.file, self.path / UNFINISHED
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.write(content.data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()  # on a full disk half a picture is what others need
            raise
        parent = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(parent)  # the name, too, before the store promises it
        finally:
            os.close(parent)

    def _delete(self, which: ColumnElement[bool], enough: int | None) -> int:
        """The oldest of these, until so many bytes are free; how many went: promises first, then files."""
        query = (
            select(PICTURE.c.sha256, PICTURE.c.file, PICTURE.c.bytes)
            .where(PICTURE.c.folder == self.id, which)
            .order_by(PICTURE.c.seen)
            .limit(BATCH)
        )
        with self._engine.begin() as connection:
            one_writer(connection)
            gone, freed = [], 0
            for row in connection.execute(query).all():
                if enough is not None and freed >= enough:
                    break
                gone.append(row)
                freed += row.bytes
            hashes = [row.sha256 for row in gone]
            connection.execute(delete(SHOWN).where(SHOWN.c.folder == self.id, SHOWN.c.sha256.in_(hashes)))
            connection.execute(delete(PICTURE).where(PICTURE.c.folder == self.id, PICTURE.c.sha256.in_(hashes)))
        self.bytes -= freed
        for row in gone:
            (self.path / row.file).unlink(missing_ok=True)
        return len(gone)


def open_folder(engine: Engine, path: Path, *, host: str, new_id: str) -> Folder:
    """The folder, made where there is none; new_id: for a new one, uuid4 hex. LineError says why it can't be used."""
    path = Path(os.path.realpath(path))
    try:
        path.mkdir(parents=True, exist_ok=True)
        others = [name for name in os.listdir(path) if name not in (MARK, f"{MARK}.part")]
        if not (path / MARK).exists():
            if others:
                raise LineError(f"{path}: holds other files ({others[0]}, …); name an empty folder for the pictures")
            (path / f"{MARK}.part").write_text(json.dumps({"id": new_id}))
            os.replace(path / f"{MARK}.part", path / MARK)
        lock = os.open(path / MARK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LineError(f"{path}: no pictures can be kept there ({error.strerror}); name another folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        id = _id(path)
        with engine.begin() as connection:
            one_writer(connection)
            known = connection.execute(select(FOLDER.c.id).where(FOLDER.c.id == id)).one_or_none()
            values = {"host": host, "path": str(path)}
            if known:
                connection.execute(update(FOLDER).where(FOLDER.c.id == id).values(values))
            else:
                connection.execute(insert(FOLDER), {"id": id} | values)
        return Folder(engine, path, id, lock)
    except BlockingIOError:
        os.close(lock)
        raise LineError(f"{path}: another line keeps its pictures there; give each line its own folder") from None
    except BaseException:
        os.close(lock)
        raise


def sweep(engine: Engine, host: str) -> tuple[int, list[str]]:
    """After inspections were forgotten: delete pictures of which none speaks any more. How many, and what stays yet."""
    total, notes = 0, []
    with reading(engine) as connection:
        unspoken = select(func.count()).select_from(PICTURE).where(PICTURE.c.folder == FOLDER.c.id)
        unspoken = unspoken.where(~exists().where(_of(SHOWN))).correlate(FOLDER).scalar_subquery()
        folders = connection.execute(select(FOLDER, unspoken.label("n"))).all()
    for row in folders:
        if not row.n:
            continue
        try:
            if row.host != host or not is_folder(Path(row.path), row.id):
                raise LineError(f"the folder is not to be found on {host}")
            folder = open_folder(engine, Path(row.path), host=host, new_id=row.id)
        except LineError as error:
            why = "a line writes there" if "another line" in str(error) else str(error)
            notes.append(f"{row.n:,} more in {row.host}:{row.path} go when a line runs there ({why})")
            continue
        total += folder.sweep()
        folder.close()
    return total, notes


def _of(table: Any) -> ColumnElement[bool]:
    return and_(table.c.folder == PICTURE.c.folder, table.c.sha256 == PICTURE.c.sha256)


def _acknowledged(now: datetime) -> ColumnElement[bool]:
    waits = exists().where(OUTBOX.c.inspection_id == SHOWN.c.inspection_id, OUTBOX.c.closed.is_(None))
    stored = exists().where(INSPECTION.c.id == SHOWN.c.inspection_id)
    on_its_way = and_(~stored, PICTURE.c.seen > now - FRESH)
    return ~exists().where(_of(SHOWN), or_(waits, on_its_way))


def _id(path: Path) -> str:
    try:
        said = json.loads((path / MARK).read_text())
        if isinstance(said, dict) and isinstance(said.get("id"), str) and len(said["id"]) == 32:
            return said["id"]
    except (OSError, ValueError):
        pass
    raise LineError(f"{path}/{MARK}: does not hold the folder's id; name a new folder for the pictures")


def is_folder(path: Path, id: str) -> bool:
    """Whether the folder of this id is there."""
    try:
        return _id(path) == id
    except LineError:
        return False
