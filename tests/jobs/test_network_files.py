"""Network file systems are found by the kernel's table of mounts."""

from pathlib import Path

import pytest

from serve_app.jobs.network_files import file_system_of, is_network

MOUNTS = r"""
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 27 0:40 / /home rw,relatime shared:2 master:3 - nfs4 host:/home rw,vers=4.2
29 28 254:1 / /home/me/local rw,relatime - xfs /dev/vdb rw
30 27 0:41 / /mnt/with\040space rw,relatime - fuse.sshfs me@host:/ rw
31 27 0:42 / /data rw - ext4 /dev/vdc rw
32 31 0:43 / /data rw - cifs //host/data rw
33 27 0:44 / /homes rw - tmpfs tmpfs rw
""".strip()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/var/lib", "ext4"),
        ("/home", "nfs4"),
        ("/home/me", "nfs4"),
        ("/home/me/local/jobs", "xfs"),
        ("/home/me/locally", "nfs4"),
        ("/mnt/with space/a", "fuse.sshfs"),
        ("/data/jobs", "cifs"),
        ("/homes/a", "tmpfs"),
    ],
)
def test_the_deepest_mount_holds_the_path(path: str, expected: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == expected


def test_an_empty_table_tells_nothing() -> None:
    assert file_system_of(Path("/"), "") == ""


@pytest.mark.parametrize(
    "name",
    ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph", "9p", "lustre", "glusterfs", "efs",
     "fuse.glusterfs", "fuse.ceph-fuse", "fuse.s3fs", "fuse.gcsfuse", "fuse.mount-s3", "fuse.rclone"],
)  # fmt: skip
def test_network_file_systems(name: str) -> None:
    assert is_network(name)


@pytest.mark.parametrize(
    "name", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.ntfs-3g", "fuseblk", ""]
)
def test_local_file_systems(name: str) -> None:
    assert not is_network(name)
