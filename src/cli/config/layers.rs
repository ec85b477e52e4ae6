//! Which options of the configuration apply to a source: the more particular section wins, and the
//! command line wins over all of them.

use std::collections::BTreeSet;

use super::entry::{ConfiguredOption, ConfiguredValue};

/// The options of one section, or of several that are equally particular.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Layer {
    pub(in crate::cli) scope: Scope,
    pub(in crate::cli) options: Vec<ConfiguredOption>,
}

/// For which sources a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Scope {
    /// Several servers, which may differ: `[defaults]` and `[host."*.DOMAIN"]`.
    Several,
    /// One server: `[host."HOST"]`.
    Host,
    /// One: `[source.NAME]`.
    One,
}

/// What is known of a mount before the configuration is applied.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Circumstances {
    /// The options of the command line.
    pub(in crate::cli) typed: BTreeSet<&'static str>,
    /// Whether the command line says that there is no proxy.
    pub(in crate::cli) no_proxy: bool,
    /// Whether the command line has another user than the source's section.
    pub(in crate::cli) is_other_user: bool,
    /// Where the source's user comes from.
    pub(in crate::cli) user: InSource,
    /// Where the source's port comes from.
    pub(in crate::cli) port: InSource,
    /// Whether the scheme requires TLS.
    pub(in crate::cli) is_secure: bool,
}

/// Where a part of the source is, which is more particular than the option of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cli) enum InSource {
    /// Nowhere.
    #[default]
    Absent,
    /// In the `url` of a named source.
    Url,
    /// In the SOURCE of the command line.
    Typed,
}

impl InSource {
    /// Whether the option of a section with this scope has an effect.
    fn yields_to(self, scope: Scope) -> bool {
        match self {
            Self::Absent => true,
            Self::Url => scope == Scope::One,
            Self::Typed => false,
        }
    }
}

/// An option and those that have no effect beside it, so that a more particular section need not
/// unset them.
const SUPERSEDED: &[(&str, &[&str])] = &[
    ("cafile", &["fingerprint", "insecure", "trust"]),
    ("fingerprint", &["cafile", "insecure", "trust"]),
    ("insecure", &["cafile", "fingerprint", "trust"]),
    ("trust", &["cafile", "fingerprint", "insecure"]),
    ("password_file", &["netrc", "password_command"]),
    ("password_command", &["netrc", "password_file"]),
    ("netrc", &["password_command", "password_file"]),
    ("cert", &["key"]),
    ("umask", &["fmask", "dmask", "file_mode", "dir_mode"]),
    ("fmask", &["file_mode"]),
    ("file_mode", &["fmask"]),
    ("dmask", &["dir_mode"]),
    ("dir_mode", &["dmask"]),
    ("soft", &["hard"]),
    ("hard", &["soft"]),
    ("active", &["proxy"]),
    ("proxy", &["active"]),
    ("allow_other", &["allow_root"]),
    ("allow_root", &["allow_other"]),
];

/// Options that are errors without another one. In a section for several sources they are about
/// those that have it.
const NEEDS: &[(&[&str], &[&str])] = &[
    (
        &["tls"],
        &["cafile", "fingerprint", "insecure", "trust", "cert", "key"],
    ),
    (&["active"], &["active_ports", "active_address"]),
    (&["cert"], &["key"]),
    (&["allow_other", "allow_root"], &["auto_unmount"]),
];

/// Options with the password of one user.
const PASSWORDS: [&str; 2] = ["password_file", "password_command"];

/// Returns the options that apply, in the order in which to set them. `layers` begin with
/// the most general one.
pub(in crate::cli) fn merge(
    layers: &[Layer],
    circumstances: &Circumstances,
) -> Vec<ConfiguredOption> {
    let mut merged: Vec<(Scope, ConfiguredOption)> = Vec::new();
    for layer in layers {
        let names: Vec<&str> = layer
            .options
            .iter()
            .map(|option| option.spec.name)
            .collect();
        let set = layer.options.iter().filter(|option| is_set(option));
        let set: Vec<&str> = set.map(|option| option.spec.name).collect();
        merged.retain(|(_, option)| !is_replaced(option.spec.name, &names, &set));
        let options = layer.options.iter().filter(|option| {
            let name = option.spec.name;
            let is_effective = match name {
                "user" => circumstances.user.yields_to(layer.scope),
                "port" => circumstances.port.yields_to(layer.scope),
                _ => !(circumstances.is_other_user && PASSWORDS.contains(&name)),
            };
            is_effective && option.value != ConfiguredValue::Unset
        });
        merged.extend(options.map(|option| (layer.scope, option.clone())));
    }
    let typed: Vec<&str> = circumstances.typed.iter().copied().collect();
    let set = typed.iter().copied();
    let set: Vec<&str> = set
        .filter(|name| *name != "proxy" || !circumstances.no_proxy)
        .collect();
    merged.retain(|(_, option)| !is_replaced(option.spec.name, &typed, &set));
    for (needed, dependent) in NEEDS {
        let is_needed = |name: &str| needed.contains(&name);
        let is_there = typed.iter().any(|name| is_needed(name))
            || (is_needed("tls") && circumstances.is_secure)
            || merged.iter().any(|(_, option)| is_needed(option.spec.name));
        if !is_there {
            merged.retain(|(scope, option)| {
                *scope != Scope::Several || !dependent.contains(&option.spec.name)
            });
        }
    }
    merged.into_iter().map(|(_, option)| option).collect()
}

/// Whether the option has an effect of its own. Without a proxy, active mode is possible.
fn is_set(option: &ConfiguredOption) -> bool {
    match &option.value {
        ConfiguredValue::Unset => false,
        ConfiguredValue::Alone => true,
        ConfiguredValue::Texts(texts) => {
            option.spec.name != "proxy" || texts.iter().all(|text| text != "none")
        }
    }
}

/// Whether an option of a more general section has no effect beside those with these `names`, some
/// of which are `set`.
fn is_replaced(name: &str, names: &[&str], set: &[&str]) -> bool {
    let mut lists = SUPERSEDED.iter();
    names.contains(&name)
        || lists.any(|(newer, older)| set.contains(newer) && older.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file;
    use super::*;
    use crate::cli::option_list;

    fn layer(scope: Scope, lines: &str) -> Layer {
        let text = format!("[defaults]\n{lines}\n");
        let section = file::parse(Path::new("/f"), &text).defaults;
        assert!(section.faults.is_empty(), "{:?}", section.faults);
        Layer {
            scope,
            options: section.options,
        }
    }

    /// Merges two sections and returns the names with the values' texts.
    fn merged(general: &str, particular: &str, circumstances: &Circumstances) -> String {
        let layers = [
            layer(Scope::Several, general),
            layer(Scope::One, particular),
        ];
        let options = merge(&layers, circumstances).into_iter().map(|option| {
            let name = option.spec.name;
            match option.value {
                ConfiguredValue::Texts(texts) => {
                    let texts: Vec<_> = texts.iter().map(|text| text.to_str().unwrap()).collect();
                    format!("{name}={}", texts.join("+"))
                }
                ConfiguredValue::Alone => name.to_owned(),
                ConfiguredValue::Unset => format!("no {name}"),
            }
        });
        options.collect::<Vec<_>>().join(" ")
    }

    fn plain(general: &str, particular: &str) -> String {
        merged(general, particular, &Circumstances::default())
    }

    fn typed(names: &[&'static str]) -> Circumstances {
        Circumstances {
            typed: names.iter().copied().collect(),
            ..Circumstances::default()
        }
    }

    #[test]
    fn the_particular_section_replaces_and_unsets() {
        assert_eq!(
            plain("timeout = 1\nro = true", "timeout = 2"),
            "ro timeout=2"
        );
        assert_eq!(plain("ro = true\nquiet = true", "ro = false"), "quiet");
        let commands = "login_command = [\"SITE A\", \"SITE B\"]";
        assert_eq!(plain(commands, ""), "login_command=SITE A+SITE B");
        assert_eq!(
            plain(commands, "login_command = \"SITE C\""),
            "login_command=SITE C"
        );
    }

    #[test]
    fn the_command_line_replaces_what_it_repeats() {
        let general = "timeout = 1\nlogin_command = \"SITE A\"\nfile_mode = 644";
        let left = merged(general, "", &typed(&["login_command", "umask"]));
        assert_eq!(left, "timeout=1");
    }

    #[test]
    fn of_options_that_exclude_each_other_the_particular_one_is_left() {
        let pin = format!("fingerprint = \"sha256:{}\"", "0".repeat(64));
        let left = plain("tls = true\ncafile = \"/ca\"", &pin);
        assert!(left.starts_with("tls fingerprint="), "{left}");
        assert_eq!(plain("password_file = \"/p\"", "netrc = true"), "netrc");
        assert_eq!(plain("password_command = \"c\"", "netrc = true"), "netrc");
        assert_eq!(
            plain("tls = true\ntrust = \"first\"", "cafile = \"/ca\""),
            "tls cafile=/ca"
        );
        assert_eq!(plain("hard = true", "soft = true"), "soft");
        assert_eq!(plain("proxy = \"http://p:1\"", "active = true"), "active");
        assert_eq!(plain("fmask = 22", "dmask = 22"), "fmask=22 dmask=22");
    }

    #[test]
    fn an_unset_option_takes_nothing_else_with_it() {
        for (general, particular) in [
            ("cafile = \"/ca\"\ntls = true", "insecure = false"),
            ("proxy = \"http://p:1\"", "active = false"),
            ("password_file = \"/p\"", "netrc = false"),
            ("hard = true", "soft = false"),
            ("umask = 22\nfmask = 33", "file_mode = false"),
            ("active = true", "proxy = \"none\""),
        ] {
            let left = plain(general, particular);
            let first = general.split(' ').next().unwrap();
            assert!(left.contains(first), "{particular}: {left}");
        }
    }

    #[test]
    fn a_proxy_and_active_mode_replace_each_other() {
        assert_eq!(
            plain("active = true", "proxy = \"http://p:1\""),
            "proxy=http://p:1"
        );
        assert_eq!(merged("active = true", "", &typed(&["proxy"])), "");
        let no_proxy = Circumstances {
            no_proxy: true,
            ..typed(&["proxy"])
        };
        assert_eq!(merged("active = true", "", &no_proxy), "active");
    }

    #[test]
    fn another_user_does_not_get_the_password_of_the_section() {
        let other = Circumstances {
            is_other_user: true,
            user: InSource::Typed,
            ..Circumstances::default()
        };
        let section = "user = \"anna\"\npassword_file = \"/p\"\nquiet = true";
        assert_eq!(merged("", section, &other), "quiet");
    }

    #[test]
    fn general_options_are_about_the_sources_that_can_use_them() {
        let general = "cafile = \"/ca\"\nactive_ports = \"1-2\"";
        assert_eq!(plain(general, ""), "");
        assert_eq!(plain(general, "tls = true"), "cafile=/ca tls");
        assert_eq!(plain(general, "active = true"), "active_ports=1-2 active");
        let secure = Circumstances {
            is_secure: true,
            ..Circumstances::default()
        };
        assert_eq!(merged(general, "", &secure), "cafile=/ca");
        assert_eq!(merged(general, "", &typed(&["tls"])), "cafile=/ca");
        // In a section about one source it is an error, which the user has to see.
        assert_eq!(plain("", general), "cafile=/ca active_ports=1-2");
    }

    #[test]
    fn a_user_or_port_in_the_source_wins() {
        let (general, particular) = ("user = \"a\"\nport = 1", "user = \"b\"\nport = 2");
        let of_url = Circumstances {
            user: InSource::Url,
            port: InSource::Url,
            ..Circumstances::default()
        };
        assert_eq!(merged(general, "", &of_url), "");
        assert_eq!(merged(general, particular, &of_url), "user=b port=2");
        let of_source = Circumstances {
            user: InSource::Typed,
            port: InSource::Typed,
            ..Circumstances::default()
        };
        assert_eq!(merged(general, particular, &of_source), "");
    }

    #[test]
    fn the_tables_name_options_that_exist() {
        let superseded = SUPERSEDED
            .iter()
            .flat_map(|(name, others)| others.iter().chain([name]));
        let needs = NEEDS
            .iter()
            .flat_map(|(needed, others)| needed.iter().chain(*others));
        for name in superseded.chain(needs).chain(&PASSWORDS) {
            assert!(option_list::named(name).is_ok(), "{name}");
        }
    }
}
