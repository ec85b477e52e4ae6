//! `ftpfs cache [show|trim|clear]`: the persistent caches of this user, also of running mounts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;

use super::control_args::{ACTION, CACHE_DIRECTORY, CACHE_SIZE, SERVER};
use super::settings::Settings;
use super::{Failure, build, print};
use crate::disk_cache::{CacheContents, CacheDir, DiskCache, DiskCacheLimits};
use crate::mount::status::size;

/// Shows, trims or clears caches.
///
/// # Errors
/// The directory cannot be read, or there is no cache of the server.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let base = match matches.get_one::<PathBuf>(CACHE_DIRECTORY) {
        Some(directory) => std::path::absolute(directory)?,
        None => build::cache_home()
            .ok_or("HOME and XDG_CACHE_HOME are not set: name the cache with --dir")?,
    };
    let server = matches.get_one::<String>(SERVER).map(String::as_str);
    let caches = CacheDir::all_in(&base)?;
    let mut chosen: Vec<_> = caches
        .into_iter()
        .filter(|cache| server.is_none_or(|server| is_of(cache, server)))
        .collect();
    chosen.sort_by(|one, other| one.path().cmp(other.path()));
    if chosen.is_empty() {
        return match server {
            Some(server) => Err(format!("no cache of {server} in {}", base.display()).into()),
            None => print(format!("no caches in {}\n", base.display()).as_bytes()),
        };
    }
    let action = matches
        .get_one::<String>(ACTION)
        .map_or("show", String::as_str);
    let mut text = String::new();
    for cache in &chosen {
        let line = match action {
            "trim" => trim(cache, matches.get_one::<u64>(CACHE_SIZE).copied())?,
            "clear" => format!("removed {}", described(DiskCache::clear(cache)?)),
            _ => described(DiskCache::contents(cache)?),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {line}", name_of(cache));
    }
    print(text.as_bytes())
}

fn trim(cache: &CacheDir, size: Option<u64>) -> Result<String, Failure> {
    let limits = DiskCacheLimits {
        disk: size.unwrap_or(Settings::default().cache_disk),
        free: None,
    };
    let (removed, left) = DiskCache::trim(cache, &limits)?;
    Ok(format!(
        "removed {}, left {}",
        described(removed),
        described(left)
    ))
}

fn described(contents: CacheContents) -> String {
    let counted = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        more => format!("{more} {one}s"),
    };
    let (files, listings) = (contents.files, contents.listings);
    let (files, listings) = (counted(files, "file"), counted(listings, "listing"));
    format!("{files}, {listings}, {}", size(contents.bytes))
}

/// Whether the cache is of `server`, which is a part of `user@host:port`.
fn is_of(cache: &CacheDir, server: &str) -> bool {
    name_of(cache).contains(server)
}

fn name_of(cache: &CacheDir) -> String {
    let path = cache.path();
    let name = path.file_name().map_or(path, Path::new);
    name.display().to_string()
}
