"""Folders and files whose permissions stop even root."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nobody() -> Iterator[Path]:
    """A folder of somebody whom permissions stop: root they do not."""
    folder = Path(tempfile.mkdtemp()).resolve()
    try:
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
            try:
                yield folder
            finally:
                os.seteuid(0)
        else:
            yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
