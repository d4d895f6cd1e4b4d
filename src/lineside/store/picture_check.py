"""`lineside verify --store --pictures`: is every picture that the store promises there, and is it the right one."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, func, or_, select

from lineside.store.open import reading
from lineside.store.pictures import is_folder
from lineside.store.png import decode
from lineside.store.tables import FOLDER, INSPECTION, PICTURE, SHOWN


@dataclass(frozen=True, slots=True)
class Checked:
    pictures: int  # that are as promised
    wrong: tuple[str, ...]  # a sentence each
    elsewhere: tuple[str, ...]  # folders that can not be looked at from here


def check(engine: Engine, host: str, progress: Callable[[int, int], None] = lambda done, total: None) -> Checked:
    """Is every picture that the store promises there, and the very one that its inspections speak of."""
    wrong, elsewhere, good, done = [], [], 0, 0
    with reading(engine) as connection:
        total = connection.execute(select(func.count()).select_from(PICTURE)).scalar_one()
        for folder in connection.execute(select(FOLDER).order_by(FOLDER.c.path)).all():
            path = Path(folder.path)
            rows = select(PICTURE).where(PICTURE.c.folder == folder.id).order_by(PICTURE.c.sha256)
            promised = connection.execute(select(func.count()).select_from(rows.subquery())).scalar_one()
            if folder.host != host:
                elsewhere.append(f"{promised:,} pictures in {folder.host}:{path}: look at them on {folder.host}")
                continue
            if not is_folder(path, folder.id):
                wrong.append(f"{path}: is not there, or another folder; {promised:,} pictures were promised in it")
                continue
            for row in connection.execution_options(yield_per=1000).execute(rows):
                problem = _problem(path / row.file, row.form, row.sha256)
                good += not problem
                wrong += [problem] if problem else []
                progress(done := done + 1, total)
        wrong += _strangers(connection)
    return Checked(good, tuple(wrong), tuple(elsewhere))


def _problem(path: Path, form: str, sha256: str) -> str:
    try:
        data = path.read_bytes()
        content = data if form == "file" else decode(data).tobytes()
    except FileNotFoundError:
        return f"{path}: is missing, though the store promises it"
    except OSError as error:
        return f"{path}: can not be read ({error.strerror})"
    except Exception as error:  # ValueError, and whatever zlib and numpy say of what somebody put there
        return f"{path}: {error or type(error).__name__}"
    found = hashlib.sha256(content).hexdigest()
    return "" if found == sha256 else f"{path}: holds another picture than its inspection spoke of (sha256 {found})"


def _strangers(connection: Connection) -> list[str]:
    """Pictures that stand at an inspection which speaks of another."""
    query = (
        select(SHOWN.c.sha256, INSPECTION.c.id, INSPECTION.c.views)
        .join(INSPECTION, INSPECTION.c.id == SHOWN.c.inspection_id)
        .where(or_(INSPECTION.c.sha256.is_(None), INSPECTION.c.sha256 != SHOWN.c.sha256))
    )
    return [
        f"the picture {row.sha256} stands at the inspection {row.id}, which does not speak of it"
        for row in connection.execute(query)
        if row.sha256 not in {view.get("sha256") for view in row.views or ()}
    ]
