"""Every kind of server: what it needs, how it starts, and which options of `run` it has."""

import dataclasses
from collections.abc import Callable

from servers.install import ALWAYS, NODE, PYTHON, UNFTP, Package, Part
from servers.packaged import inetutils, proftpd, pure_ftpd, vsftpd
from servers.programs import aioftp, ftp_srv, libunftp, pyftpdlib, rclone, twisted
from servers.wanted import Wanted

# The options of `run` that not every kind has, as the command line names them. "commands" is no option: it says
# that the server logs each command.
LIMITS = {"idle", "max-clients", "max-per-ip", "rate"}
TLS = {"tls", "tls-version"}
ALL_TLS = TLS | {"tls-implicit", "tls-reuse", "tls-client"}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of server."""

    # The command that runs a server as wanted.
    command: Callable[[Wanted], list]
    needs: tuple[Part, ...]
    options: frozenset[str]
    # Whether its process runs as the account from the start. Other servers change to it by themselves.
    runs_as_account: bool = False

    def install(self):
        for part in (*ALWAYS, *self.needs):
            part.install()


def kind(command, needs, options, **more):
    return Kind(command, tuple(needs), frozenset(options), **more)


KINDS = {
    "vsftpd": kind(vsftpd, [Package("vsftpd")], LIMITS | ALL_TLS | {"commands", "zone", "hide"}),
    # The second package has mod_tls.
    "proftpd": kind(
        proftpd, [Package("proftpd-core"), Package("proftpd-mod-crypto")], LIMITS | ALL_TLS | {"commands", "digests", "quota", "hide"}
    ),
    # It logs commands only to the system's log.
    "pure-ftpd": kind(pure_ftpd, [Package("pure-ftpd")], LIMITS | TLS),
    "pyftpdlib": kind(pyftpdlib, [PYTHON], LIMITS | TLS | {"commands"}),
    "inetutils": kind(inetutils, [Package("inetutils-ftpd")], {"idle"}),
    "ftp-srv": kind(ftp_srv, [NODE], {"idle", "tls", "tls-implicit", "commands"}),
    "aioftp": kind(aioftp, [PYTHON], LIMITS | {"tls-implicit", "commands"}),
    "twisted": kind(twisted, [PYTHON], {"idle", "commands"}),
    "rclone": kind(rclone, [PYTHON], {"tls-implicit"}, runs_as_account=True),
    "libunftp": kind(libunftp, [UNFTP], {"idle", "tls"}, runs_as_account=True),
}
