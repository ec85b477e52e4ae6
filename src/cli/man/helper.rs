//! mount.ftpfs(8).

use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{
    arguments, example, generated_flags, heading, item, next_paragraph, paragraphs, subheading,
    text_lines, titled,
};
use crate::cli::command;

const DESCRIPTION: [&str; 3] = [
    "mount(8) runs this program for file systems of the type ftpfs, at boot, by an automounter, or as in \"mount /mnt/x\". It is a \
     link to ftpfs(1), which sees by its name how it was called. SOURCE and OPT are those of ftpfs(1).",
    "For the type fuse.ftpfs, mount(8) runs mount.fuse3(8), which runs ftpfs with the same arguments. Both types do the same. \
     /proc/mounts shows fuse.ftpfs for both, and so do findmnt(8) and \"mount -t\".",
    "The mount helper returns when the mount is ready or has failed. ftpfs goes on in the background until umount(8) ends it.",
];

const FSTAB: &str = "\
ftp://you@your.server/      /mnt/x  ftpfs       _netdev,nofail,netrc=/root/.netrc  0 0
ftpes://you@your.server/a   /mnt/y  fuse.ftpfs  _netdev,nofail,noauto,user         0 0
nas:photos                  /mnt/z  ftpfs       _netdev,nofail,allow_other         0 0";

const FSTAB_OPTIONS: [(&str, &str); 6] = [
    (
        "_netdev",
        "The mount needs the network: it is mounted after the network is up and unmounted before it goes down.",
    ),
    (
        "nofail",
        "A server that is away does not keep the machine from booting.",
    ),
    ("noauto", "Mount only when asked for."),
    (
        "allow_other",
        "Let all users use the mount; without it, only the user who mounts can.",
    ),
    (
        "netrc=FILE",
        "Where user and password are. All users can read fstab, so no password belongs there.",
    ),
    (
        "delay_connect",
        "Mount without contacting the server; the first access connects.",
    ),
];

const AUTOMOUNT: &str = "\
ftp://you@your.server/  /mnt/x  ftpfs  _netdev,nofail,noauto,x-systemd.automount,x-systemd.idle-timeout=10min,\
netrc=/root/.netrc,allow_other  0 0";

const AUTOFS_MASTER: &str = "/ftp  /etc/auto.ftp  --timeout=300";
const AUTOFS_MAP: &str =
    "x  -fstype=fuse.ftpfs,netrc=/root/.netrc,allow_other  :ftp\\://you@your.server/";

const OLD_LINES: &str = "\
curlftpfs#ftp://your.server/  /mnt/x  fuse.ftpfs  rw,uid=1000,allow_other  0 0
ftpfs#ftp://your.server/      /mnt/y  fuse        rw,uid=1000,allow_other  0 0";

const OLD: [&str; 4] = [
    "The options of curlftpfs, sshfs, ssh and libfuse are translated or, if they have no effect over FTP, ignored. With \
     log_level=info, one line in the log says how to write them. What would weaken security or show other files is an error with \
     advice.",
    "ssl, ssl_control and ssl_try require TLS for everything and never fall back to plaintext. no_verify_peer is insecure, with \
     its warning. sshfs encrypts everything; FTP does so only with tls or an ftpes:// URL.",
    "A link to ftpfs that is named curlftpfs keeps the type fuse and old scripts working without a change. A source with a \
     password and without ftp:// needs that link or the prefix curlftpfs#.",
    "With the type fuse, mount(8) drops the program before the #, so that a second \"mount -a\" does not recognize an ftpfs# line.",
];

pub(super) fn page() -> Roff {
    let mut roff = titled(
        "mount.ftpfs",
        "8",
        "System Administration",
        "mount an FTP server for mount(8)",
    );
    heading(&mut roff, "SYNOPSIS");
    roff.text([
        bold("mount.ftpfs"),
        roman(" "),
        italic("SOURCE MOUNTPOINT"),
        roman(" [-sfnv] [-N "),
        italic("NAMESPACE"),
        roman("] [-t "),
        italic("TYPE"),
        roman("] [-o "),
        italic("OPT,..."),
        roman("]"),
    ]);
    roff.control("br", []);
    roff.text([
        bold("mount -t ftpfs"),
        roman(" [-o "),
        italic("OPT,..."),
        roman("] "),
        italic("SOURCE MOUNTPOINT"),
    ]);
    heading(&mut roff, "DESCRIPTION");
    paragraphs(&mut roff, DESCRIPTION);
    heading(&mut roff, "OPTIONS");
    arguments(&mut roff, &command::mount_helper());
    generated_flags(&mut roff, "Print help");
    next_paragraph(
        &mut roff,
        "ftpfs(1) lists the options of -o. Those that mount(8) itself handles, such as noauto, nofail, _netdev and all that begin \
         with x-, are accepted and ignored.",
    );
    fstab(&mut roff);
    heading(&mut roff, "AUTOFS");
    text_lines(
        &mut roff,
        "autofs(5) mounts at the first access and unmounts after a time without use. In /etc/auto.master:",
    );
    example(&mut roff, AUTOFS_MASTER);
    next_paragraph(
        &mut roff,
        "In /etc/auto.ftp, where a colon of the source needs a backslash:",
    );
    example(&mut roff, AUTOFS_MAP);
    heading(&mut roff, "LINES OF CURLFTPFS AND SSHFS");
    text_lines(
        &mut roff,
        "Old lines work with ftpfs in place of the program:",
    );
    example(&mut roff, OLD_LINES);
    for text in OLD {
        next_paragraph(&mut roff, text);
    }
    heading(&mut roff, "EXIT STATUS");
    text_lines(
        &mut roff,
        "0 when the mount is ready, 1 on any failure, with its reason on the standard error and nothing left mounted.",
    );
    heading(&mut roff, "SEE ALSO");
    text_lines(
        &mut roff,
        "ftpfs(1), ftpfs.conf(5), mount(8), umount(8), fstab(5), netrc(5), mount.fuse3(8), systemd.mount(5), \
         systemd.automount(5), autofs(5), auto.master(5)",
    );
    roff
}

fn fstab(roff: &mut Roff) {
    heading(roff, "FSTAB");
    text_lines(
        roff,
        "The first field of fstab(5) is the source: a URL, host:path, or a name that ftpfs.conf(5) defines:",
    );
    example(roff, FSTAB);
    next_paragraph(roff, "These options are useful in such lines:");
    for (option, text) in FSTAB_OPTIONS {
        item(roff, vec![bold(option)], text);
    }
    subheading(roff, "Mounting at the first access");
    text_lines(
        roff,
        "With x-systemd.automount, systemd(1) mounts when a program first uses the mountpoint, and unmounts after \
         x-systemd.idle-timeout without use:",
    );
    example(roff, AUTOMOUNT);
    next_paragraph(
        roff,
        "Run \"systemctl daemon-reload\" after a change of fstab.",
    );
}
