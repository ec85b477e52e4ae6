//! Uploads a file. After an interruption, the next run goes on where the server has got to.
//!
//! ```text
//! FTP_USER=me FTP_PASSWORD=secret cargo run --example upload -- FILE HOST[:PORT] /PATH
//! ```

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use ftpfs::ftp::{ConnectOptions, RemotePath, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(file), Some(host), Some(path)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: upload FILE HOST[:PORT] /PATH".into());
    };
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let path = RemotePath::new(path.as_bytes())?;
    let mut session = Session::connect(&options(&host)?)?;

    // A refusal means that nothing is there yet. More than the file has is another file.
    let there = session.size(&path).unwrap_or(0);
    let start = if there < length { there } else { 0 };
    file.seek(SeekFrom::Start(start))?;
    let mut upload = session.store(&path, start).map_err(|failed| failed.error)?;
    let sent = io::copy(&mut file, &mut upload)?;
    upload.flush()?;
    // The server has the file only if it confirms that.
    let (mut session, _) = upload.finish().map_err(|failed| failed.error)?;
    println!("sent {sent} bytes from {start} on");
    let stored = session.size(&path)?;
    session.quit();
    if stored == length {
        Ok(())
    } else {
        Err(format!("the server has {stored} of {length} bytes").into())
    }
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
