use std::collections::BTreeSet;

use super::super::all;
use super::*;

/// The options of curlftpfs 0.9.2, from its manual and `--help`.
const OF_CURLFTPFS: &str = "ftpfs_debug transform_symlinks disable_epsv enable_epsv skip_pasv_ip \
    ftp_port disable_eprt ftp_method custom_list tcp_nodelay connect_timeout ssl ssl_control \
    ssl_try no_verify_hostname no_verify_peer cert cert_type key key_type pass engine cacert \
    capath ciphers interface krb4 proxy proxytunnel proxy_anyauth proxy_basic proxy_digest \
    proxy_ntlm httpproxy socks4 socks5 user proxy_user tlsv1 sslv3 ipv4 ipv6 utf8 codepage \
    iocharset nomulticonn cache cache_timeout cache_stat_timeout cache_dir_timeout \
    cache_link_timeout cache_max_size cache_clean_interval cache_min_clean_interval";

/// The options of sshfs 2 and 3.
const OF_SSHFS: &str = "directport ssh_command sftp_server max_read max_write ssh_protocol \
    workaround idmap uidfile gidfile nomap sshfs_sync no_readahead sync_readdir sshfs_debug \
    sshfs_verbose reconnect transform_symlinks follow_symlinks no_check_root password_stdin \
    delay_connect slave passive disable_hardlink dir_cache direct_io max_conns debug verbose \
    cache writeback_cache unreliable_append compression dcache_timeout dcache_stat_timeout \
    dcache_dir_timeout dcache_link_timeout dcache_max_size dcache_clean_interval \
    dcache_min_clean_interval cache_timeout cache_stat_timeout cache_dir_timeout \
    cache_link_timeout cache_max_size port IdentityFile StrictHostKeyChecking \
    ServerAliveInterval ServerAliveCountMax UserKnownHostsFile Compression Ciphers \
    ProxyCommand ConnectTimeout Port";

/// Options of mount.fuse(8) that old lines of both programs contain.
const OF_LIBFUSE: &str = "allow_other allow_root default_permissions nonempty auto_unmount fsname \
    subtype umask uid gid kernel_cache auto_cache noauto_cache direct_io large_read big_writes \
    hard_remove use_ino readdir_ino entry_timeout attr_timeout negative_timeout ac_attr_timeout \
    intr intr_signal max_readahead async_read sync_read modules subdir from_code to_code";

#[test]
fn every_option_of_curlftpfs_sshfs_and_libfuse_is_known() {
    let own = all().map(|spec| spec.name);
    let known: BTreeSet<&str> = own.chain(all_foreign().map(|one| one.name)).collect();
    let names = [OF_CURLFTPFS, OF_SSHFS, OF_LIBFUSE];
    for name in names.iter().flat_map(|list| list.split_whitespace()) {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn no_name_is_there_twice_or_is_one_of_ours() {
    let mut names: BTreeSet<&str> = all().map(|spec| spec.name).collect();
    for one in all_foreign() {
        assert!(names.insert(one.name), "{}", one.name);
    }
}

/// The names that ours share with curlftpfs or sshfs, each with the same meaning and unit. A new
/// option of ours that is one of theirs with another meaning fails here.
#[test]
fn ours_and_theirs_share_only_names_with_the_same_meaning() {
    let own: BTreeSet<&str> = all().map(|spec| spec.name).collect();
    let theirs = [OF_CURLFTPFS, OF_SSHFS].join(" ");
    let shared: BTreeSet<&str> = theirs
        .split_whitespace()
        .filter(|name| own.contains(name))
        .collect();
    let expected = [
        "cert",
        "connect_timeout",
        "delay_connect",
        "direct_io",
        "key",
        "port",
        "proxy",
        "reconnect",
        "user",
    ];
    assert_eq!(shared, BTreeSet::from(expected));
}

#[test]
fn every_equivalent_is_an_option_of_ours() {
    let own: BTreeSet<&str> = all().map(|spec| spec.name).collect();
    let assert_own = |list: &str| {
        for option in list.split(',') {
            let name = option.split('=').next().unwrap();
            assert!(own.contains(name), "{list}");
        }
    };
    for one in all_foreign() {
        match one.treatment {
            Treatment::Means(list) => assert_own(list),
            Treatment::Renamed(name) => assert_own(name),
            Treatment::ByValue(equivalent) => {
                for value in ["", "-", "eth0", "127.0.0.1", "no", "5", "PEM", "utf8"] {
                    if let Ok(Equivalent::Means(list)) = equivalent(value) {
                        assert_own(&list);
                    }
                }
            }
            Treatment::Refused(advice) => assert!(!advice.ends_with('.'), "{advice}"),
            Treatment::Proxy(_) | Treatment::Ignored => {}
        }
    }
}
