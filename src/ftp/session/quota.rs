//! Quotas as servers show them to their users: SITE QUOTA of ProFTPD's mod_quotatab, and XQUOTA of
//! WS_FTP Server. Neither is in a standard.

use super::Session;
use crate::ftp::error::Error;
use crate::ftp::reply::Reply;

/// How much of a quota is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Bytes that are used.
    pub used: u64,
    /// Bytes that may be used.
    pub limit: u64,
}

impl Session {
    /// Returns the quota of this user in bytes (SITE QUOTA), or `None` if there is no limit.
    pub fn site_quota(&mut self) -> Result<Option<QuotaUsage>, Error> {
        let reply = self.completed("SITE QUOTA", b"SITE QUOTA")?;
        Ok(parse_site_quota(&reply))
    }

    /// Returns the quota of this user in bytes (XQUOTA), or `None` if there is no limit.
    pub fn xquota(&mut self) -> Result<Option<QuotaUsage>, Error> {
        let reply = self.completed("XQUOTA", b"XQUOTA")?;
        Ok(parse_xquota(&reply))
    }
}

/// Parses the line `Uploaded Mb: 1.50/10.00` or, with QuotaDisplayUnits, another unit. A limit of
/// uploads is what a user may have on the server, because deletions reduce it. Other limits, and
/// `unlimited`, say nothing about space.
fn parse_site_quota(reply: &Reply) -> Option<QuotaUsage> {
    reply.lines().iter().find_map(|line| {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let (unit, figures) = line.trim().strip_prefix("uploaded ")?.split_once(':')?;
        let unit = match unit.trim() {
            "byte" | "bytes" | "b" => 1.0,
            "kb" => 1024.0,
            "mb" => 1024.0 * 1024.0,
            "gb" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let (used, limit) = figures.split_once('/')?;
        let bytes = |figure: &str| {
            let figure = figure.trim().parse::<f64>().ok()?;
            (figure >= 0.0 && figure.is_finite()).then_some((figure * unit) as u64)
        };
        Some(QuotaUsage {
            used: bytes(used)?,
            limit: bytes(limit)?,
        })
    })
}

/// Parses the lines `Disk usage: 1024` and `Disk limit: 4096`. Without a limit, there is no number.
fn parse_xquota(reply: &Reply) -> Option<QuotaUsage> {
    let value = |name: &str| {
        reply.lines().iter().find_map(|line| {
            let line = String::from_utf8_lossy(line).to_ascii_lowercase();
            let (label, value) = line.split_once(':')?;
            let is_named = label.trim() == name;
            value.trim().parse().ok().filter(|_| is_named)
        })
    };
    Some(QuotaUsage {
        used: value("disk usage")?,
        limit: value("disk limit")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::ReplyCode;

    fn reply(text: &str) -> Reply {
        let lines = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        Reply::new(ReplyCode(200), lines)
    }

    fn quota(used: u64, limit: u64) -> QuotaUsage {
        QuotaUsage { used, limit }
    }

    #[test]
    fn the_bytes_that_may_be_uploaded_are_the_quota() {
        let text = "The current quota for this session are [current/limit]:\n\
            Name: bob\nQuota Type: User\nPer Session: False\nLimit Type: Soft\n  \
            Uploaded Mb:\t1.50/10.00\n  Downloaded Mb:\tunlimited\n  Uploaded files:\t3/10\n\
            Please contact root@host if these entries are inaccurate";
        assert_eq!(
            parse_site_quota(&reply(text)),
            Some(quota(3 << 19, 10 << 20))
        );
        let bytes = text.replace("Uploaded Mb:\t1.50/10.00", "Uploaded bytes:\t7.00/9.00");
        assert_eq!(parse_site_quota(&reply(&bytes)), Some(quota(7, 9)));
        for none in ["unlimited", "-1.00/10.00", "x/y", "NaN/inf"] {
            let text = text.replace("1.50/10.00", none);
            assert_eq!(parse_site_quota(&reply(&text)), None, "{none}");
        }
        assert_eq!(parse_site_quota(&reply("No quota in effect")), None);
    }

    #[test]
    fn disk_usage_and_limit_are_the_quota() {
        let text = "File and disk usage\n  File count: 5\n  File limit: 10000\n  \
            Disk usage: 1024\n  Disk limit: 4096\nFile and disk usage end";
        assert_eq!(parse_xquota(&reply(text)), Some(quota(1024, 4096)));
        let unlimited = text.replace("4096", "unlimited");
        assert_eq!(parse_xquota(&reply(&unlimited)), None);
        assert_eq!(parse_xquota(&reply("File count: 5")), None);
    }
}
