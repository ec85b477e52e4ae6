"""The servers that are libraries, each run by a program of ours."""

import dataclasses
import json

from servers.common import ADDRESS, PASSWORD, PROGRAMS, USER, python


def pyftpdlib(wanted):
    settings = {**dataclasses.asdict(wanted), "commands": wanted.commands, "address": ADDRESS, "user": USER, "password": PASSWORD}
    if wanted.tls:
        settings["tls"]["certificate"] = wanted.tls.both
    return [python(), PROGRAMS / "pyftpdlib-server", json.dumps(settings, default=str)]
