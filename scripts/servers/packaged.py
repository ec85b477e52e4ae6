"""The servers of Debian's packages: the configuration and the command of each."""

import contextlib
import re
import shutil
import sys

from servers.common import ADDRESS, CRYPTED, PROGRAMS, USER, call, unpacked
from servers.install import PAM_SERVICE


def vsftpd(wanted):
    empty = wanted.state / "empty"
    empty.mkdir(exist_ok=True)
    settings = {
        "listen": "YES",
        "listen_address": ADDRESS,
        "listen_port": wanted.port,
        "background": "NO",
        "anonymous_enable": "NO",
        "local_enable": "YES",
        "write_enable": "YES",
        "chmod_enable": "YES",
        "mdtm_write": "YES",
        "use_localtime": "YES" if wanted.zone else "NO",
        "local_umask": "022",
        "local_root": wanted.root,
        "chroot_local_user": "YES",
        "allow_writeable_chroot": "YES",
        "secure_chroot_dir": empty,
        "pam_service_name": PAM_SERVICE.name,
        # It kills a session on newer kernels, whose libc makes calls that its filter does not know.
        "seccomp_sandbox": "NO",
        "dual_log_enable": "YES",
        "log_ftp_protocol": "YES",
        "xferlog_enable": "NO",
        "vsftpd_log_file": wanted.commands,
        "idle_session_timeout": wanted.idle,
        "max_clients": wanted.max_clients,
        "max_per_ip": wanted.max_per_ip,
        "local_max_rate": wanted.rate,
    }
    if wanted.hide:
        settings["hide_file"] = f"{wanted.hide}*"
    if wanted.tls:
        settings |= vsftpd_tls(wanted.tls)
    configuration = wanted.state / "vsftpd.conf"
    configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return [unpacked("vsftpd") / "usr/sbin/vsftpd", configuration]


def vsftpd_tls(tls):
    def yes(condition):
        return "YES" if condition else "NO"

    settings = {
        "ssl_enable": "YES",
        "rsa_cert_file": tls.both,
        "rsa_private_key_file": tls.both,
        "force_local_logins_ssl": yes(tls.mode != "offered"),
        "force_local_data_ssl": yes(tls.mode != "offered"),
        "implicit_ssl": yes(tls.mode == "implicit"),
        "require_ssl_reuse": yes(tls.reuse),
        "ssl_ciphers": "HIGH",
    }
    if tls.demands_client:
        settings |= {"require_cert": "YES", "validate_cert": "YES", "ca_certs_file": tls.ca}
    return settings


def proftpd(wanted):
    home = unpacked("proftpd-core")
    modules = home / "usr/lib/proftpd"
    users = wanted.state / "users"
    users.write_text(wanted.passwd_line(wanted.root) + "/bin/sh\n")
    users.chmod(0o600)
    # Debian 13 has these as modules, Debian 12 in the program.
    loaded = [name for name in ("mod_ls", "mod_xfer") if (modules / f"{name}.so").exists()]
    loads = "".join(f"LoadModule {name}.c\n" for name in [*loaded, "mod_site_misc", "mod_copy"])
    limits = ["LoadModule mod_digest.c", "DigestEngine on"] if wanted.digests else []
    if wanted.quota:
        limits += proftpd_quota(home, wanted)
    if wanted.max_clients:
        limits.append(f"MaxClients {wanted.max_clients}")
    if wanted.max_per_ip:
        limits.append(f"MaxClientsPerHost {wanted.max_per_ip}")
    if wanted.rate:
        limits.append(f"TransferRate RETR,STOR,APPE {wanted.rate / 1024:.1f}")
    if wanted.hide:
        limits += ["<Directory /*>", f"HideFiles ^{re.escape(wanted.hide)}", "</Directory>"]
    if wanted.tls:
        modules = wanted.state / "modules"
        limits += proftpd_tls(wanted.tls, modules)
    configuration = wanted.state / "proftpd.conf"
    configuration.write_text(f"""
ServerType standalone
ServerName test
DefaultServer on
DefaultAddress {ADDRESS}
SocketBindTight on
Port {wanted.port}
UseIPv6 off
UseReverseDNS off
User root
Group root
PidFile {wanted.state}/pid
ScoreboardFile {wanted.state}/scoreboard
ModulePath {modules}
{loads}AuthOrder mod_auth_file.c
AuthUserFile {users}
RequireValidShell off
DefaultRoot ~
WtmpLog off
TransferLog none
LogFormat commands "%r"
ExtendedLog {wanted.commands} ALL commands
AllowOverwrite on
AllowStoreRestart on
AllowRetrieveRestart on
Umask 022
TimesGMT on
MaxInstances none
TimeoutIdle {wanted.idle}
{chr(10).join(limits)}
""")
    return [home / "usr/sbin/proftpd", "-n", "-q", "-c", configuration]


def proftpd_quota(home, wanted):
    """Lines of its configuration, and the tables of the limit and of what is used."""
    tables = {kind: wanted.state / f"quota-{kind}" for kind in ("limit", "tally")}
    tool = ["perl", home / "usr/sbin/ftpquota"]
    for kind, table in tables.items():
        call(*tool, "--create-table", f"--type={kind}", f"--table-path={table}")
    record = ["--add-record", "--type=limit", f"--name={USER}", "--quota-type=user", f"--table-path={tables['limit']}"]
    call(*tool, *record, f"--bytes-upload={wanted.quota}", "--units=byte")
    return [
        "LoadModule mod_quotatab.c",
        "LoadModule mod_quotatab_file.c",
        "QuotaEngine on",
        "QuotaShowQuotas on",
        "QuotaDisplayUnits b",
        f"QuotaLimitTable file:{tables['limit']}",
        f"QuotaTallyTable file:{tables['tally']}",
    ]


def proftpd_tls(tls, modules):
    """Lines of its configuration. It looks for modules in one place only: `modules` is made for it."""
    modules.mkdir(exist_ok=True)
    for package in ("proftpd-core", "proftpd-mod-crypto"):
        for module in (unpacked(package) / "usr/lib/proftpd").glob("*.so"):
            with contextlib.suppress(FileExistsError):
                (modules / module.name).symlink_to(module)
    options = [] if tls.reuse else ["NoSessionReuseRequired"]
    if tls.mode == "implicit":
        options.append("UseImplicitSSL")
    lines = [
        "LoadModule mod_tls.c",
        "TLSEngine on",
        f"TLSProtocol {f'TLSv{tls.version}' if tls.version else 'TLSv1.2 TLSv1.3'}",
        f"TLSECCertificateFile {tls.both}",
        f"TLSECCertificateKeyFile {tls.both}",
        f"TLSRequired {'off' if tls.mode == 'offered' else 'on'}",
    ]
    if options:
        lines.append(f"TLSOptions {' '.join(options)}")
    if tls.demands_client:
        lines += [f"TLSCACertificateFile {tls.ca}", "TLSVerifyClient on"]
    return lines


def pure_ftpd(wanted):
    home = unpacked("pure-ftpd")
    users, database = wanted.state / "users", wanted.state / "users.pdb"
    users.write_text(wanted.passwd_line(f"{wanted.root}/./") + ":::::::::::\n")
    users.chmod(0o600)
    call(home / "usr/bin/pure-pw", "mkdb", database, "-f", users)
    command = [home / "usr/sbin/pure-ftpd", "-S", f"{ADDRESS},{wanted.port}", "-l", f"puredb:{database}", "-g", wanted.state / "pid"]
    # No anonymous, a chroot for everyone, no name look-ups, listings of any length, idle time in minutes.
    command += ["-E", "-A", "-H", "-L", "200000:64", "-U", "133:022", "-u", "1", "-I", str(max(1, wanted.idle // 60))]
    if wanted.max_clients:
        command += ["-c", str(wanted.max_clients)]
    if wanted.max_per_ip:
        command += ["-C", str(wanted.max_per_ip)]
    if wanted.rate:
        command += ["-t", str(max(1, wanted.rate // 1024))]
    if wanted.tls:
        command += ["-Y", {"offered": "1", "required": "3"}[wanted.tls.mode], "-2", wanted.tls.both]
    return command


def inetutils(wanted):
    """It has no configuration but files in /etc, so it gets an /etc of its own, with the one account."""
    etc = wanted.state / "etc"
    etc.mkdir(exist_ok=True)
    shutil.copy("/etc/ld.so.cache", etc)
    files = {
        "passwd": f"root:x:0:0::/:/bin/sh\n{USER}:x:{wanted.account.pw_uid}:{wanted.account.pw_gid}::{wanted.root}:/bin/sh\n",
        "group": f"root:x:0:\n{USER}:x:{wanted.account.pw_gid}:\n",
        "shadow": f"{USER}:{CRYPTED}:19000:0:99999:7:::\n",
        "shells": "/bin/sh\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
        # The accounts that do not see more than their home.
        "ftpchroot": f"{USER}\n",
    }
    for name, content in files.items():
        (etc / name).write_text(content)
    server = [unpacked("inetutils-ftpd") / "usr/sbin/ftpd", "-4", "-a", "default", "-u", "022", "-t", wanted.idle, "-T", wanted.idle]
    return ["unshare", "--mount", sys.executable, PROGRAMS / "inetd", ADDRESS, wanted.port, etc, *server]
