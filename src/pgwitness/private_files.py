"""Files that hold keys: written whole or not at all, and never readable by others for a moment."""

import os
from pathlib import Path


def write_private(path: Path, data: bytes, mode: int) -> None:
    """Also after a power cut, either what was there or all of ``data`` is. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
