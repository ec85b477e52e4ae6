//! Converts the typed options to the options of the lower layers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proxy_env::{self, Choice, Variables};
use super::settings::{CacheChoice, Settings};
use super::{Failure, security};
use crate::credentials::{CREDENTIALS_DIRECTORY, Credentials, CredentialsOrigin, Search};
use crate::disk_cache::{self, CachePlace, DiskCacheLimits, DiskCacheOptions};
use crate::ftp::{
    CommandCounts, ConnectOptions, ListingBudget, LocalOptions, OpenSockets, Password, Proxy,
    ServerProfile, Traffic,
};
use crate::journal::{self, StateDir};
use crate::mount::control::{Sockets, socket_directories};
use crate::mount::{HangUp, KernelOptions, MountOptions, StateOptions};
use crate::pool::PoolOptions;
use crate::remote::{RemoteOptions, RetryMode};
use crate::source::{Source, conceal};
use crate::sys;
use crate::vfs::VfsOptions;

/// Time after which an idle session is closed. Limits of servers start at five minutes.
const IDLE: Duration = Duration::from_secs(180);

/// Interval of NOOP on idle sessions.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long an operation waits for a connection while all are busy, as a multiple of `timeout`.
/// Transfers of other programs end or time out, so waiting is better than failing.
const LEASE_PATIENCE: u32 = 10;

/// Longest wait for bytes of a file with `-o hard`: ten years.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Memory for listings that are being received, as a multiple of the cache size. They are compacted
/// for the cache.
const LISTINGS_IN_CACHES: usize = 8;
/// Minimum memory in bytes for listings that are being received, so that directories of some
/// hundred thousand entries can be listed with a small cache.
const LEAST_FOR_LISTINGS: usize = 128 << 20;

/// Number of threads that receive the kernel's requests. None of them waits for the network, so a
/// few are enough.
const THREADS: usize = 4;

/// Checks that the options agree with each other and with the source.
///
/// # Errors
/// They do not.
pub(super) fn check(source: &Source, options: &Settings) -> Result<(), Failure> {
    security::check(source, options)?;
    local(options)?;
    if options.offline == Some(true) && options.retry == RetryMode::Hard {
        return Err(
            "-o offline=yes fails what a server that is away cannot answer, and -o hard waits for it: leave one of them \
             out"
                .into(),
        );
    }
    if options.exports && options.cache_dir.is_none() {
        return Err(
            "-o export keeps inode numbers in the persistent cache: add -o cache_dir=default, or name a directory"
                .into(),
        );
    }
    if options.exports && options.delay_connect {
        return Err(
            "-o export needs the directory on the server when it mounts, and -o delay_connect finds it later: leave one \
             of them out"
                .into(),
        );
    }
    if let Choice::By(proxy) = &options.proxy {
        check_passive(proxy, options)?;
    }
    if options.password_file.is_some() && options.password_command.is_some() {
        return Err(
            "-o password_file= and -o password_command= both say where the password is: give one of them"
                .into(),
        );
    }
    Ok(())
}

/// Finds user and password.
///
/// # Errors
/// There is no password.
pub(super) fn credentials(
    source: &Source,
    options: &Settings,
    environment: Option<Password>,
) -> Result<Credentials, Failure> {
    let search = Search {
        host: source.host.clone(),
        user: options.user.clone().or_else(|| source.user.clone()),
        password: options.password.clone().or_else(|| source.password.clone()),
        password_file: options.password_file.clone(),
        password_command: options.password_command.clone(),
        environment,
        credentials_directory: std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from),
        netrc: options.netrc.clone(),
    };
    // The standard error of a command may contain anything.
    Ok(search.find().map_err(|error| conceal(&error.to_string()))?)
}

/// Returns a login for a connection that ends before the login.
pub(super) fn no_login() -> Credentials {
    Credentials {
        user: String::new(),
        password: Password::new(""),
        account: String::new(),
        origin: CredentialsOrigin::Given,
    }
}

/// Returns the options of a connection that ends before the login.
///
/// # Errors
/// TLS cannot be set up as requested.
pub(super) fn connection_without_login(
    source: &Source,
    options: &Settings,
    proxy: Option<Proxy>,
    state: Option<&Path>,
) -> Result<ConnectOptions, Failure> {
    let remote = remote(source, options, no_login(), proxy, state)?;
    Ok(remote.pool.connect)
}

/// Chooses the proxy.
///
/// # Errors
/// It cannot be used, or not in active mode.
pub(super) fn proxy(
    source: &Source,
    options: &Settings,
    variables: &Variables,
) -> Result<Option<Proxy>, Failure> {
    let proxy = proxy_env::choose(&options.proxy, variables, &source.host)?;
    if let Some(proxy) = &proxy {
        check_passive(proxy, options)?;
    }
    Ok(proxy)
}

/// Checks that the server need not connect to this machine, which a proxy does not allow.
fn check_passive(proxy: &Proxy, options: &Settings) -> Result<(), Failure> {
    if !options.active {
        return Ok(());
    }
    Err(format!(
        "-o active does not work by a proxy ({proxy}): the server would connect to this machine; leave one of them out \
         (-o proxy=none ignores the environment)"
    )
    .into())
}

/// Returns the local end of the connections.
///
/// # Errors
/// An option would have no effect.
fn local(options: &Settings) -> Result<LocalOptions, Failure> {
    let local = options.local.clone();
    let idle = [
        (local.active_ports.is_some(), "active_ports"),
        (local.active_address.is_some(), "active_address"),
    ];
    match idle.iter().find(|(is_given, _)| *is_given) {
        Some((_, name)) if !options.active => {
            Err(format!("-o {name} requires active mode: add -o active").into())
        }
        _ => Ok(local),
    }
}

/// Returns the options of the sessions.
///
/// # Errors
/// TLS cannot be set up as requested.
pub(super) fn remote(
    source: &Source,
    options: &Settings,
    login: Credentials,
    proxy: Option<Proxy>,
    state: Option<&Path>,
) -> Result<RemoteOptions, Failure> {
    let port = security::port(source, options)?;
    let place = state.map(|state| StateDir::of(state, &login.user, &source.host, port));
    let connect = ConnectOptions {
        host: source.host.clone(),
        port,
        user: login.user,
        password: login.password,
        account: login.account,
        tls: security::tls(source, options, state)?,
        connect_timeout: options.connect_timeout,
        timeout: options.timeout,
        proxy,
        active: options.active,
        local: local(options)?,
        trust_pasv_address: options.pasv_address,
        charset: options.charset,
        timezone: options.timezone.clone(),
        counts: CommandCounts::default(),
        traffic: Traffic::limited(options.limits),
        profile: ServerProfile::without(&options.without),
        login_commands: options.login_commands.clone(),
        listings: ListingBudget::default(),
        sockets: OpenSockets::default(),
    };
    Ok(RemoteOptions {
        pool: PoolOptions {
            connect,
            connections: options.connections,
            idle: IDLE,
            keep_alive: KEEP_ALIVE,
            lease_timeout: options.timeout * LEASE_PATIENCE,
            retry: options.retry,
            works_offline: works_offline(options),
        },
        atomic: options.atomic,
        append: options.append,
        verify: options.verify,
        links: options.symlinks,
        profile_file: place.as_ref().map(StateDir::profile),
        listing_bytes: options
            .cache_size
            .saturating_mul(LISTINGS_IN_CACHES)
            .max(LEAST_FOR_LISTINGS),
    })
}

/// Whether the mount works without a server that cannot be reached.
fn works_offline(options: &Settings) -> bool {
    let is_useful = options.cache_dir.is_some() && options.retry == RetryMode::Soft;
    options.offline.unwrap_or(is_useful)
}

/// Returns the mount options for the kernel. `label` is the source as typed.
pub(super) fn kernel(label: &str, options: &Settings, single_thread: bool) -> KernelOptions {
    let name = options.fsname.clone();
    let subtype = options.subtype.clone();
    KernelOptions {
        name: name.unwrap_or_else(|| label.to_owned()),
        subtype: subtype.unwrap_or_else(|| "ftpfs".to_owned()),
        read_only: options.read_only,
        no_exec: options.no_exec,
        no_atime: options.no_atime,
        sync: options.sync,
        dir_sync: options.dir_sync,
        sharing: options.sharing,
        default_permissions: options.default_permissions,
        auto_unmount: options.auto_unmount,
        threads: if single_thread { 1 } else { THREADS },
    }
}

/// Returns all options of a mount.
///
/// # Errors
/// TLS cannot be set up as requested.
pub(super) fn mount(
    source: Source,
    options: &Settings,
    login: Credentials,
    proxy: Option<Proxy>,
    kernel: KernelOptions,
    state: Option<&Path>,
) -> Result<MountOptions, Failure> {
    let port = security::port(&source, options)?;
    let place = state.map(|state| StateDir::of(state, &login.user, &source.host, port));
    Ok(MountOptions {
        state: StateOptions {
            place,
            spool: options.spool.clone(),
            is_needed: options.writeback && !options.read_only,
            is_read_only: options.read_only,
        },
        cache: cache_base(options).map(|base| DiskCacheOptions {
            place: CachePlace::of(&base, &login.user, &source.host, port),
            limits: DiskCacheLimits {
                disk: options.cache_disk,
                free: options.cache_free,
            },
        }),
        exports: options.exports,
        sockets: Some(sockets(state)),
        hang_up: HangUp::End,
        supervisor: None,
        remote: remote(&source, options, login, proxy, state)?,
        path: source.path,
        delay_connect: options.delay_connect,
        vfs: VfsOptions {
            uid: options.uid.unwrap_or_else(sys::effective_uid),
            gid: options.gid.unwrap_or_else(sys::effective_gid),
            file_mode: shown_mode(options.file_mode, options.fmask.or(options.umask)),
            directory_mode: shown_mode(options.dir_mode, options.dmask.or(options.umask)),
            ignores_refused_attributes: options.quiet,
            read_only: options.read_only,
            dir_ttl: options.dir_ttl,
            open_ttl: options.open_ttl,
            attr_ttl: options.attr_ttl,
            read_ahead: options.read_ahead,
            timeout: match options.retry {
                RetryMode::Soft => options.timeout * (LEASE_PATIENCE + 3),
                RetryMode::Hard => FOR_EVER,
            },
            cache_bytes: options.cache_size,
            spool_size: options.spool_size,
            writeback: options.writeback && !options.read_only,
            names: options.background_names && !options.read_only,
            direct_io: options.direct_io,
            space: options.space,
        },
        kernel,
    })
}

/// Returns the mode that is shown in place of the server's. A mask replaces the server's mode and
/// does not only remove bits from it, as in libfuse.
fn shown_mode(mode: Option<u32>, mask: Option<u32>) -> Option<u32> {
    mode.or_else(|| mask.map(|mask| 0o777 & !mask))
}

/// Returns the directories of the control sockets of this user's mounts. `state` is the result of
/// [`state_home`].
pub(super) fn sockets(state: Option<&Path>) -> Sockets {
    socket_directories(sys::effective_uid(), state, |name| std::env::var_os(name))
}

/// Returns the directory of the persistent caches. `None` if the user wants none, or has no home
/// for the usual one.
pub(super) fn cache_base(options: &Settings) -> Option<PathBuf> {
    match options.cache_dir.as_ref()? {
        CacheChoice::Directory(directory) => Some(directory.clone()),
        CacheChoice::Usual => cache_home(),
    }
}

/// Returns the usual directory of the persistent caches of this user.
pub(super) fn cache_home() -> Option<PathBuf> {
    disk_cache::cache_home(sys::effective_uid() == 0, |name| std::env::var_os(name))
}

/// Returns ftpfs's state directory for this user.
pub(super) fn state_home() -> Option<PathBuf> {
    journal::state_home(sys::effective_uid() == 0, |name| std::env::var_os(name))
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};

    use super::super::{option_list, secrets};
    use super::*;

    #[test]
    fn nothing_that_is_passed_on_prints_a_password() {
        let source = Source::parse(OsStr::new("ftp://me:hunter2@h/")).unwrap();
        let list = [OsString::from(
            "proxy=http://me:hunter2@p:1,user=me:hunter2",
        )];
        let options = option_list::parse(&list, option_list::Unknown::Refuse, Settings::default());
        let options = options.unwrap().settings;
        let value = |name: &str| (name == "FTP_PROXY").then(|| "http://me:hunter2@e:1".to_owned());
        let environment = secrets::Environment {
            password: Some(Password::new("hunter2")),
            proxies: proxy_env::variables(value),
            supervisor: None,
        };
        let proxy = proxy(&source, &options, &environment.proxies).unwrap();
        assert!(proxy.is_some());
        let login = credentials(&source, &options, environment.password.clone()).unwrap();
        let kernel = kernel(&source.shown, &options, false);
        let printed = format!("{source:?} {options:?} {environment:?} {login:?} {proxy:?}");
        let to_mount = mount(source, &options, login, proxy, kernel, None);
        let printed = format!("{printed} {to_mount:?}");
        assert!(printed.contains("****"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
