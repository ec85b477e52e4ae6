"""Downloads and unpacks the servers, and makes their account."""

import fcntl
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers.common import CRYPTED, HOME, SCRIPTS, USER, Failure, call, python, unpacked

# The crypto package is ProFTPD's mod_tls.
PACKAGES = ("vsftpd", "proftpd-core", "proftpd-mod-crypto", "pure-ftpd")
PYFTPDLIB = ("pyftpdlib==2.2.0", "pyopenssl==26.4.0")
PAM_SERVICE = Path("/etc/pam.d/ftpfs-test")
# pam_unix takes the account whatever its shell; pam_exec, which would spare it a password, hangs in vsftpd.
PAM_RULES = f"""auth requisite pam_succeed_if.so quiet user = {USER}
auth required pam_unix.so
account required pam_permit.so
session required pam_permit.so
"""


def install():
    """Unpacks what is missing. Several callers at once wait for each other."""
    if is_installed():
        return
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_installed():
            return
        for package in PACKAGES:
            if not unpacked(package).is_dir():
                unpack(package)
        if not has_venv():
            make_venv()
        call(SCRIPTS / "need", "openssl=openssl")
        # These belong to the machine, not to this checkout: another one may be making them at this moment.
        with open("/run/lock/ftpfs-test", "w") as machine:
            fcntl.flock(machine, fcntl.LOCK_EX)
            make_account()


def is_installed():
    unpacked_all = all(unpacked(package).is_dir() for package in PACKAGES)
    return unpacked_all and has_venv() and has_account() and shutil.which("openssl")


def has_venv():
    return python().exists() and any((HOME / "venv/lib").glob("python*/site-packages/OpenSSL"))


def unpack(package):
    """Downloads a package and lays its files below HOME; only the libraries it needs are really installed."""
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        try:
            call("apt-get", "download", "-q", package, cwd=scratch)
        except Failure:
            apt("update", "-q")
            call("apt-get", "download", "-q", package, cwd=scratch)
        (archive,) = Path(scratch).glob("*.deb")
        apt("install", "-qy", "--no-install-recommends", *libraries(archive))
        call("dpkg-deb", "-x", archive, Path(scratch) / "files")
        # Renamed when it is whole, so that a half-unpacked server is never taken for one.
        (Path(scratch) / "files").chmod(0o755)
        (Path(scratch) / "files").rename(unpacked(package))


def libraries(archive):
    """The shared libraries among a package's dependencies."""
    depends = call("dpkg-deb", "-f", archive, "Depends").split(",")
    names = [alternatives.split("|")[0].split("(")[0].strip() for alternatives in depends]
    return [name for name in names if name.startswith("lib")]


def make_venv():
    scratch = HOME / "venv.new"
    shutil.rmtree(scratch, ignore_errors=True)
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        apt("install", "-qy", "--no-install-recommends", "python3-venv")
    call(sys.executable, "-m", "venv", scratch)
    call(scratch / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *PYFTPDLIB)
    shutil.rmtree(HOME / "venv", ignore_errors=True)
    # The scripts in bin/ name their place and break by this; the interpreter, all that is used, does not.
    scratch.rename(HOME / "venv")


def has_account():
    try:
        has_password = f"{USER}:{CRYPTED}:" in Path("/etc/shadow").read_text()
        return has_password and pwd.getpwnam(USER).pw_dir == "/" and PAM_SERVICE.read_text() == PAM_RULES
    except (FileNotFoundError, KeyError):
        return False


def make_account():
    if subprocess.run(["id", USER], capture_output=True).returncode:
        call("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER)
    # vsftpd wants a home that exists, even where the root is another directory.
    call("usermod", "--home", "/", "--password", CRYPTED, USER)
    PAM_SERVICE.write_text(PAM_RULES)


def apt(*arguments):
    """apt-get, again while another program holds its locks: only some of them can be waited for."""
    deadline = time.monotonic() + 300
    while True:
        try:
            return call("apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments)
        except Failure as failure:
            if "ould not get lock" not in str(failure) or time.monotonic() > deadline:
                raise
            time.sleep(2)
