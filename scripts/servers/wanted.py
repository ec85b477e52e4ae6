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
    quota: int
    zone: str
    # Names that begin so are not listed, and can be used all the same; "" hides none.
    hide: str
    tls: Tls | None

    @property
    def commands(self):
        """The log of every command that the server receives."""
        return self.state / "commands"

    @property
    def account(self):
        return pwd.getpwnam(USER)

    def passwd_line(self, home):
        """The account in a line as in passwd(5), without its shell."""
        return f"{USER}:{CRYPTED}:{self.account.pw_uid}:{self.account.pw_gid}::{home}:"
