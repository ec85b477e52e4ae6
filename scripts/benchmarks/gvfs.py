"""The mount of a desktop session: GVfs, whose files other programs see below one mountpoint of gvfsd-fuse."""

import shutil

from .servers import PASSWORD, USER

# On Debian, the daemons are not in PATH.
PACKAGES = (
    "gio=libglib2.0-bin", "dbus-run-session=dbus-daemon", "unshare=util-linux",
    "/usr/libexec/gvfsd-fuse=gvfs-fuse", "/usr/libexec/gvfsd-ftp=gvfs-backends",
)  # fmt: skip
# Ends when the mountpoint is unmounted, and with it the session.
SESSION = """
/usr/libexec/gvfsd-fuse -f "$1" & fuse=$!
echo "$PASSWORD" | gio mount "$2" || kill $fuse
wait
"""


def command(server, mnt):
    """A session of its own that mounts the server. Its daemons leave their parents; the PID namespace ends them too."""
    url = f"ftp://{USER}@{server.address}:{server.port}/"
    return ["unshare", "--pid", "--fork", "--kill-child", "dbus-run-session", "--", "sh", "-c", SESSION, "sh", mnt, url]


def environment(place):
    """No more than the session needs, and an empty home directory."""
    home = place.local / "session"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "PASSWORD": PASSWORD,
        "HOME": str(home), "XDG_RUNTIME_DIR": str(home),
        # One mountpoint is enough, and so is one source of mounts.
        "GVFS_DISABLE_FUSE": "1", "GIO_USE_VOLUME_MONITOR": "unix",
    }  # fmt: skip


def inside(server, mnt):
    """The directory of the server's files."""
    return mnt / f"ftp:host={server.address},port={server.port},user={USER}"
