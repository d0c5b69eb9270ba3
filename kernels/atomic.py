"""Files that are whole or not there."""

import contextlib
import os
import secrets
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path):
    """A temporary name beside `path`; what is written there takes the place of `path` if the block ends well.

    Folders on the way are made. If the block raises, the temporary file goes and `path` stays what it was.

    Examples
    --------
    >>> import tempfile
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
