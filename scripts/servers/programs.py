"""The servers that are libraries, or part of a larger program: the command of each."""

import dataclasses
import json

from servers.common import ADDRESS, FTP_SRV, LIBUNFTP, PASSWORD, PROGRAMS, USER, VENV


def program(name, wanted, interpreter=VENV / "bin/python"):
    """A program of ours. Its one argument is the settings as JSON."""
    account = wanted.account
    settings = {**dataclasses.asdict(wanted), "commands": wanted.commands, "address": ADDRESS, "user": USER, "password": PASSWORD}
    settings |= {"uid": account.pw_uid, "gid": account.pw_gid}
    if wanted.tls:
        settings["tls"] |= {"certificate": wanted.tls.both, "key": wanted.tls.both}
    return [interpreter, PROGRAMS / name, json.dumps(settings, default=str)]


def pyftpdlib(wanted):
    return program("pyftpdlib-server", wanted)


def aioftp(wanted):
    return program("aioftp-server", wanted)


def twisted(wanted):
    return program("twisted-server", wanted)


def ftp_srv(wanted):
    # The program is elsewhere than its packages; node looks for those beside the program unless told.
    return ["env", f"NODE_PATH={FTP_SRV / 'node_modules'}", *program("ftp-srv/server.js", wanted, "node")]


def rclone(wanted):
    command = [VENV / "bin/rclone", "serve", "ftp", wanted.root, "--addr", f"{ADDRESS}:{wanted.port}", "--user", USER]
    # Its cache of directories would hide what a test changes on the server's side. At 0s it uses a whole core.
    command += ["--pass", PASSWORD, "--dir-cache-time", "1ms", "--config", "/dev/null", "--cache-dir", wanted.state / "cache"]
    if wanted.tls:
        command += ["--cert", wanted.tls.both, "--key", wanted.tls.both]
    return command


def libunftp(wanted):
    command = [LIBUNFTP / "server", f"{ADDRESS}:{wanted.port}", wanted.root, wanted.idle]
    if wanted.tls:
        command += [wanted.tls.both, wanted.tls.both, wanted.tls.mode]
    return command
