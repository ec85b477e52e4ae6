//! The parsed `-o` options with defaults filled in. The table in `options` describes each.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::config::ConfigChoice;
use super::foreign_use::ForeignUse;
use super::logging::LogFormat;
use super::proxy_env::Choice;
use crate::credentials::{Netrc, PasswordCommand};
use crate::ftp::tls::Fingerprint;
use crate::ftp::{Capability, LocalOptions, Password, RateLimits};
use crate::mount::Sharing;
use crate::remote::{Append, Atomic, Links, RetryMode, Verify};

/// The directory of the persistent cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CacheChoice {
    /// The usual one of this user.
    Usual,
    /// This one.
    Directory(PathBuf),
}

/// The values of the options, with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags that are independent of each other"
)]
pub(super) struct Settings {
    pub(super) user: Option<String>,
    /// Of `user=NAME:PASSWORD`, as in curlftpfs.
    pub(super) password: Option<Password>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) password_command: Option<PasswordCommand>,
    pub(super) netrc: Netrc,
    pub(super) port: Option<u16>,
    pub(super) connections: usize,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) limits: RateLimits,
    pub(super) retry: RetryMode,
    /// Whether to work without a server that cannot be reached; `None` decides by other options.
    pub(super) offline: Option<bool>,
    pub(super) delay_connect: bool,
    pub(super) exports: bool,
    pub(super) proxy: Choice,
    pub(super) active: bool,
    pub(super) local: LocalOptions,
    pub(super) pasv_address: bool,
    pub(super) without: Vec<Capability>,
    pub(super) login_commands: Vec<String>,
    pub(super) tls: bool,
    pub(super) cafile: Option<PathBuf>,
    pub(super) fingerprint: Option<Fingerprint>,
    /// Pin the certificate of the first connection.
    pub(super) trust_first: bool,
    pub(super) insecure: bool,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) charset: Option<&'static encoding_rs::Encoding>,
    pub(super) timezone: Option<TimeZone>,
    pub(super) atomic: Atomic,
    pub(super) append: Append,
    pub(super) verify: Verify,
    pub(super) symlinks: Links,
    pub(super) writeback: bool,
    pub(super) background_names: bool,
    pub(super) direct_io: bool,
    pub(super) dir_ttl: Duration,
    pub(super) open_ttl: Duration,
    pub(super) attr_ttl: Duration,
    pub(super) cache_size: usize,
    /// Where what is read is kept.
    pub(super) cache_dir: Option<CacheChoice>,
    pub(super) cache_disk: u64,
    pub(super) cache_free: Option<u64>,
    pub(super) read_ahead: usize,
    pub(super) spool: Option<PathBuf>,
    pub(super) spool_size: Option<u64>,
    pub(super) space: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) umask: Option<u32>,
    pub(super) fmask: Option<u32>,
    pub(super) dmask: Option<u32>,
    pub(super) file_mode: Option<u32>,
    pub(super) dir_mode: Option<u32>,
    pub(super) quiet: bool,
    pub(super) log_level: log::LevelFilter,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log_format: LogFormat,
    pub(super) read_only: bool,
    pub(super) no_exec: bool,
    pub(super) no_atime: bool,
    pub(super) sync: bool,
    pub(super) dir_sync: bool,
    pub(super) sharing: Sharing,
    pub(super) default_permissions: bool,
    pub(super) nonempty: bool,
    pub(super) auto_unmount: bool,
    pub(super) fsname: Option<String>,
    pub(super) subtype: Option<String>,
    /// The configuration files.
    pub(super) config: ConfigChoice,
    /// The options of other programs from which some of these come.
    pub(super) foreign: ForeignUse,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            password_file: None,
            password_command: None,
            netrc: Netrc::IfPresent,
            port: None,
            connections: 8,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            limits: RateLimits::default(),
            retry: RetryMode::Soft,
            offline: None,
            delay_connect: false,
            exports: false,
            proxy: Choice::Environment,
            active: false,
            local: LocalOptions::default(),
            pasv_address: false,
            without: Vec::new(),
            login_commands: Vec::new(),
            tls: false,
            cafile: None,
            fingerprint: None,
            trust_first: false,
            insecure: false,
            cert: None,
            key: None,
            charset: None,
            timezone: None,
            atomic: Atomic::Auto,
            append: Append::Auto,
            verify: Verify::Digest,
            symlinks: Links::Show,
            writeback: false,
            background_names: false,
            direct_io: false,
            dir_ttl: Duration::from_secs(20),
            open_ttl: Duration::from_secs(1),
            attr_ttl: Duration::from_secs(20),
            cache_size: 64 << 20,
            cache_dir: None,
            cache_disk: 10 << 30,
            cache_free: None,
            read_ahead: 4 << 20,
            spool: None,
            spool_size: None,
            space: None,
            uid: None,
            gid: None,
            umask: None,
            fmask: None,
            dmask: None,
            file_mode: None,
            dir_mode: None,
            quiet: false,
            log_level: log::LevelFilter::Warn,
            log_file: None,
            log_format: LogFormat::Text,
            read_only: false,
            no_exec: false,
            no_atime: false,
            sync: false,
            dir_sync: false,
            sharing: Sharing::Owner,
            default_permissions: false,
            nonempty: false,
            auto_unmount: false,
            fsname: None,
            subtype: None,
            config: ConfigChoice::Usual,
            foreign: ForeignUse::default(),
        }
    }
}
