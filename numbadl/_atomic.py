"""Files that are whole or not there."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path):
    """A temporary name beside `path`; what is written there takes the place of `path` if the block ends well.

    Folders on the way are made. If the block raises, the temporary file goes and `path` stays what it was.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "new", "note.txt")
    ...     with atomic_path(target) as temporary:
    ...         _ = temporary.write_text("done")
    ...     target.read_text(), [file.name for file in target.parent.iterdir()]
    ('done', ['note.txt'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by their owner only, and stay so after the renaming.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_can_write(path):
    """Raise OSError now if a file at `path` could not be written later; nothing is left behind.

    Examples
    --------
    >>> check_can_write(Path(tempfile.gettempdir(), "numbadl-no-such-folder", "model.safetensors"))
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; the name of a file is expected")
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; a folder is expected, to write {path.name} into")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(f"{folder}: cannot be written to ({error.strerror or error})") from None
