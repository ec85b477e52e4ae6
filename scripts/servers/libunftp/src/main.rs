//! libunftp with its file system backend, as a server for ftpfs's tests.
//!
//! Arguments: ADDRESS:PORT ROOT IDLE_SECONDS [CERTIFICATE KEY required|offered]. The environment holds
//! the account: FTPFS_TEST_USER and FTPFS_TEST_PASSWORD.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use libunftp::ServerBuilder;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, Principal};
use unftp_sbe_fs::Filesystem;

#[derive(Debug)]
struct Account {
    user: String,
    password: String,
}

#[async_trait]
impl Authenticator for Account {
    async fn authenticate(
        &self,
        user: &str,
        credentials: &Credentials,
    ) -> Result<Principal, AuthenticationError> {
        if user != self.user {
            return Err(AuthenticationError::BadUser);
        }
        if credentials.password.as_ref() != Some(&self.password) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal {
            username: user.to_owned(),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (address, root, idle, tls) = match arguments.as_slice() {
        [address, root, idle] => (address, root, idle, None),
        [address, root, idle, certificate, key, mode] => {
            (address, root, idle, Some((certificate, key, mode)))
        }
        _ => {
            return Err("ADDRESS:PORT ROOT IDLE_SECONDS [CERTIFICATE KEY required|offered]".into());
        }
    };
    let account = Account {
        user: env::var("FTPFS_TEST_USER")?,
        password: env::var("FTPFS_TEST_PASSWORD")?,
    };
    let root = PathBuf::from(root);
    // Reports a root that cannot be opened here rather than in every session.
    Filesystem::new(root.clone())?;
    let new_storage = move || Filesystem::new(root.clone()).expect("the root stays");
    let mut builder = ServerBuilder::with_authenticator(Box::new(new_storage), Arc::new(account))
        .greeting("libunftp")
        .idle_session_timeout(idle.parse()?);
    if let Some((certificate, key, mode)) = tls {
        let is_required = mode == "required";
        builder = builder
            .ftps(certificate, key)
            .ftps_required(is_required, is_required);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let server = builder.build()?;
    runtime.block_on(server.listen(address.clone()))?;
    Ok(())
}
