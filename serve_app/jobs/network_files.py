"""File systems on which SQLite's locks and shared memory do not work between machines."""

import re
from pathlib import Path

from serve_app.errors import ConfigError

MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "efs", "fhgfs", "gfs2", "glusterfs",
        "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs",
        "vboxsf", "vmhgfs", "weka", "wekafs", "fuse.vmhgfs-fuse",
    }
)  # fmt: skip
_NETWORK_FUSE = re.compile(
    r"fuse\.(ceph|gcsfuse|glusterfs|goofys|juicefs|mfs|mount-s3|moosefs|rclone|s3fs|seaweedfs|smbnetfs"
    r"|sshfs|ossfs|blobfuse2?|davfs2?|curlftpfs|afp|portal)\b.*"
)


def file_system_of(path: Path, mounts: str) -> str:
    """Find the type of the file system that holds an absolute path without links; empty: unknown.

    mounts: content of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    """
    best = (-1, "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split(" ")[4]))
        if path.is_relative_to(point) and len(point.parts) >= best[0]:
            best = (len(point.parts), after.split(" ")[0])  # a later mount covers an earlier one
    return best[1]


def _unescaped(text: str) -> str:
    """Replace the kernel's octal escapes of spaces, tabs, line ends and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def is_network(file_system: str) -> bool:
    """Whether files of this type may be used by several machines at once."""
    return file_system in _NETWORK or _NETWORK_FUSE.fullmatch(file_system) is not None


def refuse_network_files(folder: Path) -> None:
    """Raise ConfigError if the folder lies on a network file system. Only Linux tells."""
    if not MOUNTS.exists():
        return
    found = file_system_of(folder.resolve(), MOUNTS.read_text(errors="surrogateescape"))
    if is_network(found):
        raise ConfigError(
            f"The job store's folder {folder} is on a network file system ({found}), where SQLite"
            " loses data: name a folder on a local disk, or a postgresql:// store, in jobs.store."
        )
