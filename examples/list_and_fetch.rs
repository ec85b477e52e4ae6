//! Lists a directory, or fetches a file to the standard output.
//!
//! ```text
//! cargo run --example list_and_fetch -- HOST[:PORT] /PATH
//! FTP_USER=me FTP_PASSWORD=secret cargo run --example list_and_fetch -- HOST /PATH
//! ```

use std::env;
use std::error::Error;
use std::io;

use ftpfs::ftp::{ConnectOptions, Entry, Kind, RemotePath, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(host), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: list_and_fetch HOST[:PORT] /PATH".into());
    };
    let path = RemotePath::new(path.as_bytes())?;
    let mut session = Session::connect(&options(&host)?)?;

    // A server refuses to enter what is no directory.
    if session.change_directory(&path).is_ok() {
        for entry in session.directory(&path)? {
            println!("{}", line(&entry));
        }
        session.quit();
        return Ok(());
    }
    let mut download = session.retrieve(&path, 0).map_err(|failed| failed.error)?;
    io::copy(&mut download, &mut io::stdout())?;
    // The data is complete only if the server confirms it.
    download.finish().map_err(|failed| failed.error)?.quit();
    Ok(())
}

fn options(host: &str) -> Result<ConnectOptions, Box<dyn Error>> {
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, port.parse()?),
        None => (host, 21),
    };
    let options = ConnectOptions::new(host).port(port);
    Ok(match (env::var("FTP_USER"), env::var("FTP_PASSWORD")) {
        (Ok(user), Ok(password)) => options.login(user, password),
        _ => options,
    })
}

fn line(entry: &Entry) -> String {
    let name = String::from_utf8_lossy(&entry.name);
    match (entry.kind, entry.size) {
        (Kind::Directory, _) => format!("{:>12} {name}/", ""),
        (_, Some(size)) => format!("{size:>12} {name}"),
        (_, None) => format!("{:>12} {name}", "?"),
    }
}
