"""The two formats of `torch.save`: a zip archive, and before PyTorch 1.6 a series of pickles.

Without torch, so that a check before a start may use it.
"""

import zipfile
from pathlib import Path

from serve_app.errors import CheckpointError

_ZIP = b"PK\x03\x04"
# Pickle's protocol 2, the only one that torch reads as plain data, and the bytes of torch.serialization.MAGIC_NUMBER
_SERIES = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_TRUNCATED = "The file is cut off or damaged: copy or download it again."


def is_archive(file: Path) -> bool:
    """Whether a file of `torch.save` is a zip archive; else it is of the older format.

    Raises CheckpointError if it is neither.
    """
    with file.open("rb") as stream:
        start = stream.read(16)
    if not start:
        raise CheckpointError(f"{file}: is empty (0 bytes). {_TRUNCATED}")
    if start.startswith(_ZIP):
        if not zipfile.is_zipfile(file):
            raise CheckpointError(f"{file}: not a readable PyTorch file. {_TRUNCATED}")
        return True
    if start.startswith(_SERIES):
        return False
    raise CheckpointError(
        f"{file}: is no file of torch.save: it begins with {start!r}. Export the model again "
        "with audiocraft.utils.export, or download the file itself (a text may be an error page or "
        "a pointer of Git LFS)."
    )
