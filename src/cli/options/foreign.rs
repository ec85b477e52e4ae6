//! Options of curlftpfs, sshfs, ssh and libfuse, for old fstab lines and scripts: their equivalents
//! here. `--help` does not list them, because a new line needs none.
//!
//! An option that has no effect over FTP is ignored. One is refused if ignoring it would weaken
//! security or change what is mounted without a word. Names that mean the same in both programs,
//! such as `user`, `port` and `connect_timeout`, are in the tables of ftpfs's own options.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

/// An option of another program.
#[derive(Debug)]
pub(in crate::cli) struct ForeignOption {
    /// The name before the `=`.
    pub(in crate::cli) name: &'static str,
    pub(in crate::cli) treatment: Treatment,
}

impl ForeignOption {
    /// Whether it is written without a value.
    pub(in crate::cli) fn is_flag(&self) -> bool {
        matches!(
            self.treatment,
            Treatment::Means(_) | Treatment::Proxy(ProxyPart::Scheme(_))
        )
    }

    /// Whether it is an option of sshfs or ssh, and not of curlftpfs or libfuse.
    pub(in crate::cli) fn is_of_sshfs(&self) -> bool {
        [SSHFS, SSH]
            .into_iter()
            .flatten()
            .any(|it| it.name == self.name)
    }
}

/// What ftpfs does with a [`ForeignOption`].
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum Treatment {
    /// It stands for this list of own options.
    Means(&'static str),
    /// It is the own option of this name, with the same value and unit.
    Renamed(&'static str),
    /// Its value decides.
    ByValue(fn(&str) -> Result<Equivalent, &'static str>),
    /// It describes the proxy together with others.
    Proxy(ProxyPart),
    /// It has no effect here.
    Ignored,
    /// It is an error with this advice.
    Refused(&'static str),
}

/// The equivalent of an option with a certain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Equivalent {
    /// This list of own options.
    Means(String),
    /// None is needed.
    Ignored,
}

/// A part of curlftpfs's description of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum ProxyPart {
    /// `user:password`.
    Login,
    /// A scheme of a proxy URL.
    Scheme(&'static str),
}

const fn means(name: &'static str, own: &'static str) -> ForeignOption {
    let treatment = Treatment::Means(own);
    ForeignOption { name, treatment }
}

const fn renamed(name: &'static str, own: &'static str) -> ForeignOption {
    let treatment = Treatment::Renamed(own);
    ForeignOption { name, treatment }
}

const fn by_value(
    name: &'static str,
    equivalent: fn(&str) -> Result<Equivalent, &'static str>,
) -> ForeignOption {
    let treatment = Treatment::ByValue(equivalent);
    ForeignOption { name, treatment }
}

const fn proxy(name: &'static str, part: ProxyPart) -> ForeignOption {
    let treatment = Treatment::Proxy(part);
    ForeignOption { name, treatment }
}

const fn ignored(name: &'static str) -> ForeignOption {
    let treatment = Treatment::Ignored;
    ForeignOption { name, treatment }
}

const fn refused(name: &'static str, advice: &'static str) -> ForeignOption {
    let treatment = Treatment::Refused(advice);
    ForeignOption { name, treatment }
}

/// curlftpfs(1), and its cache.
const CURLFTPFS: &[ForeignOption] = &[
    // TLS for the control connection alone would show the files, and TLS only if the server offers
    // it would let an attacker turn it off: both become TLS for everything.
    means("ssl", "tls"),
    means("ssl_control", "tls"),
    means("ssl_try", "tls"),
    means("no_verify_peer", "insecure"),
    // The name is always checked. The error for a wrong one shows the fingerprint to trust.
    ignored("no_verify_hostname"),
    renamed("cacert", "cafile"),
    refused(
        "capath",
        "write the certificates into one file and name it with cafile=FILE",
    ),
    by_value("cert_type", pem_only),
    by_value("key_type", pem_only),
    refused(
        "pass",
        "ftpfs reads private keys without a passphrase: remove it with openssl pkey, and chmod 600 the key",
    ),
    refused(
        "engine",
        "private keys are read from a file: name it with key=FILE",
    ),
    // TLS 1.2 and 1.3 with the ciphers that are secure today are the minimum anyway.
    ignored("ciphers"),
    ignored("tlsv1"),
    ignored("sslv3"),
    refused("krb4", "Kerberos is not supported; tls encrypts everything"),
    means("disable_epsv", "without=epsv"),
    // PASV is the fallback, and its address is ignored.
    ignored("enable_epsv"),
    ignored("skip_pasv_ip"),
    by_value("ftp_port", active),
    // PORT is the fallback.
    ignored("disable_eprt"),
    renamed("interface", "bind"),
    proxy("proxy_user", ProxyPart::Login),
    proxy("httpproxy", ProxyPart::Scheme("http")),
    proxy("socks5", ProxyPart::Scheme("socks5")),
    refused("socks4", "use proxy=socks5://host:port"),
    // HTTP proxies are always used with CONNECT and Basic.
    ignored("proxytunnel"),
    ignored("proxy_anyauth"),
    ignored("proxy_basic"),
    refused(
        "proxy_digest",
        "ftpfs sends the proxy's password as Basic only; leave it out to allow that",
    ),
    refused(
        "proxy_ntlm",
        "ftpfs sends the proxy's password as Basic only; leave it out to allow that",
    ),
    renamed("codepage", "charset"),
    by_value("iocharset", utf8_only),
    ignored("utf8"),
    means("nomulticonn", "connections=1"),
    by_value("cache", cache),
    renamed("cache_dir_timeout", "dir_ttl"),
    renamed("cache_stat_timeout", "attr_ttl"),
    by_value("cache_timeout", cache_timeout),
    ignored("cache_link_timeout"),
    ignored("cache_max_size"),
    ignored("cache_clean_interval"),
    ignored("cache_min_clean_interval"),
    // ftpfs chooses commands by what the server supports.
    ignored("ftp_method"),
    ignored("custom_list"),
    ignored("ftpfs_debug"),
    ignored("tcp_nodelay"),
    ignored("ipv4"),
    ignored("ipv6"),
    // Also of sshfs. Absolute links are shown as relative ones anyway.
    ignored("transform_symlinks"),
];

/// sshfs(1), and its cache.
const SSHFS: &[ForeignOption] = &[
    means("follow_symlinks", "symlinks=follow"),
    means("sshfs_sync", "sync"),
    means("no_readahead", "read_ahead=128K"),
    means("password_stdin", "password_file=-"),
    renamed("max_conns", "connections"),
    by_value("dir_cache", cache),
    renamed("dcache_dir_timeout", "dir_ttl"),
    renamed("dcache_stat_timeout", "attr_ttl"),
    by_value("dcache_timeout", cache_timeout),
    refused("slave", "ftpfs connects to the server itself"),
    refused(
        "passive",
        "ftpfs connects to the server itself; passive mode of FTP is the default",
    ),
    ignored("dcache_link_timeout"),
    ignored("dcache_max_size"),
    ignored("dcache_clean_interval"),
    ignored("dcache_min_clean_interval"),
    ignored("sync_readdir"),
    ignored("workaround"),
    // FTP has no numeric owners; uid= and gid= choose those shown.
    ignored("idmap"),
    ignored("uidfile"),
    ignored("gidfile"),
    ignored("nomap"),
    refused(
        "ssh_command",
        "use proxy=socks5h://host:port, for example with ssh -D",
    ),
    ignored("ssh_protocol"),
    ignored("sftp_server"),
    refused("directport", "use port=PORT"),
    ignored("compression"),
    ignored("no_check_root"),
    ignored("disable_hardlink"),
    ignored("sshfs_debug"),
    ignored("sshfs_verbose"),
    ignored("verbose"),
    ignored("unreliable_append"),
];

/// ssh_config(5), as far as sshfs passes it on. Keys and host keys have no meaning for FTP; what
/// selects the server or the way to it is not ignored.
const SSH: &[ForeignOption] = &[
    renamed("BindAddress", "bind"),
    renamed("BindInterface", "bind"),
    renamed("ConnectTimeout", "connect_timeout"),
    renamed("Port", "port"),
    renamed("User", "user"),
    refused("HostName", "write the host's name in SOURCE"),
    refused(
        "ProxyCommand",
        "use proxy=socks5h://host:port, for example with ssh -D",
    ),
    refused(
        "ProxyJump",
        "use proxy=socks5h://host:port, for example with ssh -D",
    ),
    ignored("AddressFamily"),
    ignored("BatchMode"),
    ignored("CertificateFile"),
    ignored("ChallengeResponseAuthentication"),
    ignored("CheckHostIP"),
    ignored("Cipher"),
    ignored("Ciphers"),
    ignored("Compression"),
    ignored("CompressionLevel"),
    ignored("ConnectionAttempts"),
    ignored("ControlMaster"),
    ignored("ControlPath"),
    ignored("ControlPersist"),
    ignored("FingerprintHash"),
    ignored("ForwardAgent"),
    ignored("ForwardX11"),
    ignored("GlobalKnownHostsFile"),
    ignored("GSSAPIAuthentication"),
    ignored("GSSAPIDelegateCredentials"),
    ignored("HashKnownHosts"),
    ignored("HostbasedAuthentication"),
    ignored("HostbasedKeyTypes"),
    ignored("HostKeyAlgorithms"),
    ignored("HostKeyAlias"),
    ignored("IdentitiesOnly"),
    ignored("IdentityAgent"),
    ignored("IdentityFile"),
    ignored("IPQoS"),
    ignored("KbdInteractiveAuthentication"),
    ignored("KbdInteractiveDevices"),
    ignored("KexAlgorithms"),
    ignored("LogLevel"),
    ignored("MACs"),
    ignored("NoHostAuthenticationForLocalhost"),
    ignored("NumberOfPasswordPrompts"),
    ignored("PasswordAuthentication"),
    ignored("PKCS11Provider"),
    ignored("PreferredAuthentications"),
    ignored("ProxyUseFdpass"),
    ignored("PubkeyAcceptedAlgorithms"),
    ignored("PubkeyAcceptedKeyTypes"),
    ignored("PubkeyAuthentication"),
    ignored("RekeyLimit"),
    ignored("RevokedHostKeys"),
    ignored("RhostsRSAAuthentication"),
    ignored("RSAAuthentication"),
    ignored("ServerAliveCountMax"),
    ignored("ServerAliveInterval"),
    ignored("SmartcardDevice"),
    ignored("StrictHostKeyChecking"),
    ignored("TCPKeepAlive"),
    ignored("UpdateHostKeys"),
    ignored("UsePrivilegedPort"),
    ignored("UserKnownHostsFile"),
    ignored("VerifyHostKeyDNS"),
    ignored("VisualHostKey"),
];

/// libfuse 2 and 3, of which both programs accept every option: mount.fuse(8).
const LIBFUSE: &[ForeignOption] = &[
    renamed("attr_timeout", "attr_ttl"),
    // They change which files are shown.
    refused("subdir", "write the directory in SOURCE"),
    refused("from_code", "use charset=NAME"),
    refused("to_code", "use charset=NAME"),
    refused(
        "modules",
        "write the directory in SOURCE instead of subdir, and charset=NAME instead of iconv",
    ),
    ignored("ac_attr_timeout"),
    ignored("async_dio"),
    ignored("async_read"),
    ignored("atomic_o_trunc"),
    ignored("auto_cache"),
    ignored("noauto_cache"),
    ignored("auto_inval_data"),
    ignored("no_auto_inval_data"),
    ignored("big_writes"),
    ignored("blksize"),
    ignored("clone_fd"),
    ignored("congestion_threshold"),
    ignored("debug"),
    ignored("entry_timeout"),
    ignored("hard_remove"),
    ignored("intr"),
    ignored("intr_signal"),
    ignored("kernel_cache"),
    ignored("large_read"),
    ignored("max_background"),
    ignored("max_idle_threads"),
    ignored("max_read"),
    ignored("max_readahead"),
    ignored("max_threads"),
    ignored("max_write"),
    ignored("negative_timeout"),
    ignored("no_remote_flock"),
    ignored("no_remote_lock"),
    ignored("no_remote_posix_lock"),
    ignored("noforget"),
    ignored("nopath"),
    ignored("readdir_ino"),
    ignored("remember"),
    ignored("splice_move"),
    ignored("splice_read"),
    ignored("splice_write"),
    ignored("no_splice_move"),
    ignored("no_splice_read"),
    ignored("no_splice_write"),
    ignored("sync_read"),
    ignored("use_ino"),
    // The kernel's, which is not writeback of ftpfs.
    ignored("writeback_cache"),
];

/// Returns the option of another program that has this name.
pub(in crate::cli) fn find_foreign(name: &str, has_value: bool) -> Option<&'static ForeignOption> {
    let exact = all_foreign().find(|foreign| foreign.name == name);
    // As sshfs does.
    let of_ssh = || SSH.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    exact.or_else(|| of_ssh().filter(|_| has_value))
}

/// Returns all options of other programs.
pub(in crate::cli) fn all_foreign() -> impl Iterator<Item = &'static ForeignOption> {
    [CURLFTPFS, SSHFS, SSH, LIBFUSE].into_iter().flatten()
}

fn pem_only(value: &str) -> Result<Equivalent, &'static str> {
    if value.eq_ignore_ascii_case("PEM") {
        return Ok(Equivalent::Ignored);
    }
    Err("ftpfs reads PEM files only: convert it with openssl x509 or openssl pkey")
}

fn utf8_only(value: &str) -> Result<Equivalent, &'static str> {
    if ["UTF8", "UTF-8"]
        .iter()
        .any(|name| value.eq_ignore_ascii_case(name))
    {
        return Ok(Equivalent::Ignored);
    }
    Err("names on this side are always UTF-8; charset=NAME is that of the server's names")
}

/// An address of this machine, an interface, or `-` for the address of the control connection.
fn active(value: &str) -> Result<Equivalent, &'static str> {
    let own = match value {
        "-" => "active".to_owned(),
        _ if value.parse::<IpAddr>().is_ok() => format!("active,active_address={value}"),
        _ if value.is_empty() || value.contains([',', '\\', ':', '.']) => {
            return Err("use active, with active_address=ADDRESS, active_ports=A-B or bind=NAME");
        }
        _ => format!("active,bind={value}"),
    };
    Ok(Equivalent::Means(own))
}

fn cache(value: &str) -> Result<Equivalent, &'static str> {
    match value {
        "yes" => Ok(Equivalent::Ignored),
        "no" => Ok(Equivalent::Means("dir_ttl=0,attr_ttl=0".to_owned())),
        _ => Err("yes or no is expected; dir_ttl= and attr_ttl= set the times"),
    }
}

fn cache_timeout(value: &str) -> Result<Equivalent, &'static str> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let own = format!("dir_ttl={value},attr_ttl={value}");
        return Ok(Equivalent::Means(own));
    }
    Err("seconds are expected; dir_ttl= and attr_ttl= set the times")
}
