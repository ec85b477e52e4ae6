//! Code shared by all integration tests: servers to mount, mounts that are always taken down
//! again, and the shell.
//!
//! A test starts a [`TestServer`], mounts it with [`Mount`] and uses the mountpoint like any other
//! directory. [`stories!`] runs one such story on every kind of server.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test program is a crate of its own and uses a part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unnecessary_debug_formatting,
    clippy::format_collect,
    reason = "all of this is test code: a panic is the way to fail, and a name is shown as it is"
)]

mod errno;
mod foreign;
mod kind;
mod link;
mod mount;
mod namespace;
mod process;
mod proxy;
mod quirky;
mod random;
mod scripted;
mod server;
mod shell;
mod terminal;
mod tls;
mod tree;

pub(crate) use errno::assert_errno;
pub(crate) use kind::{Kind, Lack, RawNames};
pub(crate) use link::{Told, behind, link, script, word};
pub(crate) use mount::{Ending, Mount, is_mounted, unmount_unused};
pub(crate) use namespace::{OPEN_DEVICE, in_own_namespace};
pub(crate) use process::{Process, contains};
pub(crate) use proxy::{HOST_BEHIND, Manner, Speaks, TestProxy};
pub(crate) use quirky::{Answer, FileTree, Pipelined, Quirks, QuirkyServer, Request, State, Step};
pub(crate) use random::Random;
pub(crate) use scripted::{ALIVE, Act, Scripted};
pub(crate) use server::{ASIDE, PASSWORD, TestServer, USER};
pub(crate) use shell::{command, installed, is_root, lines, run, run_with, shell, wait_for};
pub(crate) use terminal::Terminal;
pub(crate) use tls::Tls;
pub(crate) use tree::{assert_same_bytes, assert_same_tree, assert_same_tree_with, sha256};

/// Turns each function into a module with one test for each kind of server, so that
/// `cargo test` names them one by one: `copy_a_tree::vsftpd`.
///
/// ```ignore
/// stories! {
///     /// `cp -r` copies a whole tree to the server.
///     fn copy_a_tree(server: &TestServer, mount: &Mount) { … }
///
///     /// The same test with mount options.
///     fn copy_a_tree_uncached(server: &TestServer, mount: &Mount) with ["dir_ttl=0"] { … }
/// }
/// ```
///
/// By default, the kinds are the five that every story runs on. With `#![every_server]` first, the
/// stories run on all kinds; with `#![and test Kind, …]`, they run on those as well.
macro_rules! stories {
    (#![every_server] $($story:tt)*) => {
        $crate::support::stories! {
            #![and inetutils Inetutils, ftp_srv FtpSrv, aioftp Aioftp, twisted Twisted, rclone Rclone,
                libunftp Libunftp]
            $($story)*
        }
    };
    (#![and $($test:ident $kind:ident),*] $($story:tt)*) => {
        $crate::support::stories_on! {
            [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd, pure_ftpd PureFtpd, pyftpdlib Pyftpdlib,
            $($test $kind),*]
            $($story)*
        }
    };
    ($($story:tt)*) => {
        $crate::support::stories_on! {
            [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd, pure_ftpd PureFtpd, pyftpdlib Pyftpdlib]
            $($story)*
        }
    };
}
pub(crate) use stories;

/// Implements [`stories!`] for a list of kinds.
macro_rules! stories_on {
    ($kinds:tt $($(#[$attribute:meta])* fn $name:ident($server:ident: &TestServer, $mount:ident: &Mount)
        $(with [$($option:expr),* $(,)?])? $body:block)*) => {
        $(
            $(#[$attribute])*
            #[cfg(test)]
            mod $name {
                #[allow(unused_imports, reason = "not every story needs what its file imports")]
                use super::*;
                use $crate::support::{Kind, Mount, TestServer};

                #[allow(unused_variables, reason = "not every story looks at the server's side")]
                fn story($server: &TestServer, $mount: &Mount) $body

                fn tell(kind: Kind) {
                    let server = TestServer::start(kind);
                    let mount = Mount::with_options(&server, &[$($($option),*)?]);
                    story(&server, &mount);
                }

                $crate::support::tell_on! { $kinds }
            }
        )*
    };
}
pub(crate) use stories_on;

/// Defines one test for each kind, which calls `tell` with that kind.
macro_rules! tell_on {
    ([$($test:ident $kind:ident),*]) => {
        $(
            #[test]
            fn $test() {
                tell(Kind::$kind);
            }
        )*
    };
}
pub(crate) use tell_on;
