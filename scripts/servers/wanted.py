"""One server as asked for."""

import dataclasses
import pwd
from pathlib import Path

from servers.certificates import Tls
from servers.common import CRYPTED, USER


@dataclasses.dataclass
class Wanted:
    """One server as asked for; 0 leaves a limit at the server's own default."""

    root: Path
    port: int
    state: Path
    idle: int
    max_clients: int
    max_per_ip: int
    rate: int
    digests: bool
    zone: str
    tls: Tls | None

    @property
    def commands(self):
        """Where the server logs each command it gets."""
        return self.state / "commands"

    def account(self, home):
        """A line as in passwd(5)."""
        account = pwd.getpwnam(USER)
        return f"{USER}:{CRYPTED}:{account.pw_uid}:{account.pw_gid}::{home}:"
