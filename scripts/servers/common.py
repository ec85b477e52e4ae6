"""What all parts of scripts/ftpd share: where the servers are, their account, and running a program."""

import os
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"
HOME = Path(os.environ.get("FTPFS_SERVERS") or SCRIPTS.parent / "target/servers").resolve()
VENV = HOME / "python"
FTP_SRV = HOME / "ftp-srv"
LIBUNFTP = HOME / "libunftp"
ADDRESS = os.environ.get("FTPFS_SERVER_ADDRESS", "127.0.0.1")

USER = "ftpfs-test"
PASSWORD = "ftpfs-test-secret"
# crypt(3) of PASSWORD, precomputed: hashing it here would need another tool.
CRYPTED = "$6$ftpfs$1AXSUn53eKzVUbtzSyTQqMCxnM9vVXzA.FHHJG7Yn./bzPOax0/95yZ9CtUszNmN8iui1SmYtPEQ6Mqn/515o."


class Failure(Exception):
    """A message for the user, without a traceback."""


def unpacked(package):
    """Where the files of a Debian package are."""
    return HOME / package


def call(*command, env=os.environ, **options):
    """Runs a program to its end and returns its standard output."""
    environment = {**env, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, **options)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is missing: this needs Debian or a relative of it") from None
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout
