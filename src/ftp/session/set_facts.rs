//! Changing properties of a file: modification time (MFMT and MFF of draft-somers-ftp-mfxx, SITE
//! UTIME, MDTM), mode (SITE CHMOD, MFF), group (SITE CHGRP, MFF) and name (RNFR and RNTO, RFC 959
//! §4.1.3), in one write if the server supports pipelining.

use super::Session;
use crate::ftp::error::Error;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::Reply;
use crate::ftp::text::escaped;
use crate::ftp::time::timestamp;

/// A time, mode or group, and the command that sets it. Times are in UTC seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Time, by MFMT.
    Mfmt(i64),
    /// Time, by MFF.
    MffModify(i64),
    /// Time, by `SITE UTIME` in the form with a time zone.
    SiteUtime(i64),
    /// Time, by `SITE UTIME` in the older form: the time first, to the minute or second.
    OldSiteUtime(i64),
    /// Time, by MDTM with a time before the path, as in vsftpd.
    Mdtm(i64),
    /// Permission bits, by `SITE CHMOD`.
    SiteChmod(u32),
    /// Permission bits, by MFF.
    MffMode(u32),
    /// Group by its number, by `SITE CHGRP`.
    SiteChgrp(u32),
    /// Group by its number, by MFF.
    MffGroup(u32),
}

impl Setting {
    fn verb(self) -> &'static str {
        match self {
            Self::Mfmt(_) => "MFMT",
            Self::MffModify(_) | Self::MffMode(_) | Self::MffGroup(_) => "MFF",
            Self::SiteUtime(_) | Self::OldSiteUtime(_) => "SITE UTIME",
            Self::Mdtm(_) => "MDTM",
            Self::SiteChmod(_) => "SITE CHMOD",
            Self::SiteChgrp(_) => "SITE CHGRP",
        }
    }

    /// The parts of the command line before and after the path.
    fn parts(self) -> Result<(String, String), Error> {
        let before = match self {
            Self::Mfmt(seconds) => format!("MFMT {} ", to_timestamp(seconds)?),
            Self::MffModify(seconds) => format!("MFF Modify={}; ", to_timestamp(seconds)?),
            Self::SiteUtime(seconds) => {
                let time = to_timestamp(seconds)?;
                return Ok((
                    "SITE UTIME ".to_owned(),
                    format!(" {time} {time} {time} UTC"),
                ));
            }
            Self::OldSiteUtime(seconds) => format!("SITE UTIME {} ", to_timestamp(seconds)?),
            Self::Mdtm(seconds) => format!("MDTM {} ", to_timestamp(seconds)?),
            Self::SiteChmod(mode) => format!("SITE CHMOD {mode:03o} "),
            Self::MffMode(mode) => format!("MFF UNIX.mode={mode:04o}; "),
            Self::SiteChgrp(group) => format!("SITE CHGRP {group} "),
            Self::MffGroup(group) => format!("MFF UNIX.group={group}; "),
        };
        Ok((before, String::new()))
    }
}

impl Session {
    /// Sets the time or mode of `path`.
    pub fn set(&mut self, path: &RemotePath, setting: Setting) -> Result<(), Error> {
        let line = self.setting_line(path, setting)?;
        let answer = self.completed(setting.verb(), &line);
        check_done(setting.verb(), answer)
    }

    /// Renames a file (RNFR and RNTO), in one write if the server supports pipelining.
    pub fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        self.set_and_rename(&[], from, to).map(drop)
    }

    /// Applies `settings` to `from` and [renames](Self::rename) it, in one write if the server
    /// supports pipelining. Returns the result of each setting; a refused one does not prevent the
    /// rename.
    ///
    /// # Errors
    /// The rename was refused, or the session failed.
    pub fn set_and_rename(
        &mut self,
        settings: &[Setting],
        from: &RemotePath,
        to: &RemotePath,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        // Format both before sending either: RNFR without RNTO leaves a rename pending.
        let (rnfr, rnto) = (
            self.line(b"RNFR ", from, b"")?,
            self.line(b"RNTO ", to, b"")?,
        );
        if !self.pipelines() {
            let mut made = Vec::with_capacity(settings.len());
            for setting in settings {
                let answer = self.set(from, *setting);
                made.push(self.unless_broken(answer)?);
            }
            let asked = self.exchange("RNFR", &rnfr);
            check_ready("RNFR", asked)?;
            return self.completed("RNTO", &rnto).map(|_| made);
        }
        let spelled: Vec<_> = settings
            .iter()
            .map(|setting| self.setting_line(from, *setting))
            .collect();
        let mut lines: Vec<&[u8]> = spelled.iter().flatten().map(Vec::as_slice).collect();
        lines.extend([rnfr.as_slice(), &rnto]);
        for line in &lines {
            log::debug!("> {}", escaped(line));
        }
        self.control.send_batch(&lines)?;
        let mut made = Vec::with_capacity(settings.len());
        for (setting, line) in settings.iter().zip(spelled) {
            let answer = line.and_then(|_| self.completion(setting.verb()));
            let answer = check_done(setting.verb(), answer);
            made.push(self.unless_broken(answer)?);
        }
        self.renamed().map(|()| made)
    }

    /// Checks whether the server accepts `path` as the source of a rename (RNFR alone). If it does,
    /// only RNTO may follow, so the session is no longer usable.
    ///
    /// # Errors
    /// The server refused, or the session failed.
    pub fn may_rename(&mut self, path: &RemotePath) -> Result<(), Error> {
        let line = self.line(b"RNFR ", path, b"")?;
        let asked = self.exchange("RNFR", &line);
        check_ready("RNFR", asked)?;
        self.control.give_up();
        Ok(())
    }

    /// Receives the replies to RNFR and RNTO.
    pub(super) fn renamed(&mut self) -> Result<(), Error> {
        let asked = self.answer("RNFR");
        let Err(refused) = check_ready("RNFR", asked) else {
            return self.completion("RNTO").map(drop);
        };
        if self.is_usable() {
            // The RNTO is also answered, with 503.
            let answered = self.completion("RNTO");
            self.unless_broken(answered)?.ok();
        }
        Err(refused)
    }

    /// Receives the reply to the command of a setting.
    pub(super) fn set_answer(&mut self, setting: Setting) -> Result<(), Error> {
        let answer = self.completion(setting.verb());
        check_done(setting.verb(), answer)
    }

    pub(super) fn setting_line(
        &self,
        path: &RemotePath,
        setting: Setting,
    ) -> Result<Vec<u8>, Error> {
        let (before, after) = match setting {
            Setting::Mdtm(seconds) => Setting::Mdtm(self.mdtm_time(seconds)).parts()?,
            other => other.parts()?,
        };
        self.line(before.as_bytes(), path, after.as_bytes())
    }
}

/// Checks that the second command of a pair can follow the first. Servers that reply 200 or 250
/// instead of 350 also wait for it.
fn check_ready(verb: &'static str, answer: Result<Reply, Error>) -> Result<(), Error> {
    match answer? {
        reply if reply.is_refusal() => Err(Error::Refused {
            command: verb,
            reply,
        }),
        _ => Ok(()),
    }
}

/// Checks that a command had an effect. 202 means that nothing was done: "command not implemented,
/// superfluous at this site" (RFC 959 §4.2.2).
fn check_done(verb: &'static str, answer: Result<Reply, Error>) -> Result<(), Error> {
    match answer? {
        reply if reply.code().0 == 202 => Err(Error::Refused {
            command: verb,
            reply,
        }),
        _ => Ok(()),
    }
}

fn to_timestamp(seconds: i64) -> Result<String, Error> {
    timestamp(seconds).ok_or(Error::Unrepresentable("a time outside the years 1 to 9999"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_spelled_as_its_command_wants_it() {
        let spelled = |setting: Setting| {
            let (before, after) = setting.parts().unwrap();
            format!("{before}/f{after}")
        };
        let time = "20240302010203";
        let seconds = 1_709_341_323;
        for (setting, line) in [
            (Setting::Mfmt(seconds), format!("MFMT {time} /f")),
            (
                Setting::MffModify(seconds),
                format!("MFF Modify={time}; /f"),
            ),
            (
                Setting::SiteUtime(seconds),
                format!("SITE UTIME /f {time} {time} {time} UTC"),
            ),
            (
                Setting::OldSiteUtime(seconds),
                format!("SITE UTIME {time} /f"),
            ),
            (Setting::Mdtm(seconds), format!("MDTM {time} /f")),
            (Setting::SiteChmod(0o644), "SITE CHMOD 644 /f".to_owned()),
            (Setting::MffMode(0o644), "MFF UNIX.mode=0644; /f".to_owned()),
            (Setting::SiteChgrp(100), "SITE CHGRP 100 /f".to_owned()),
            (Setting::MffGroup(100), "MFF UNIX.group=100; /f".to_owned()),
        ] {
            assert_eq!(spelled(setting), line);
            assert!(line.starts_with(setting.verb()));
        }
        assert!(Setting::Mfmt(i64::MAX).parts().is_err());
    }
}
