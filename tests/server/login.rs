//! Accepted and refused logins.

use ftpfs::server::Access;

use crate::client::Served;

fn joes() -> Served {
    Served::with(|options| {
        options.access = Access::Account {
            user: "joe".into(),
            password: "s3cret word".into(),
        };
    })
}

#[test]
fn anonymous_gets_in_with_any_password() {
    for served in Served::on_both_families() {
        for name in ["anonymous", "ftp", "Anonymous"] {
            let mut client = served.stranger();
            client.expect(format!("USER {name}"), 331);
            client.expect("PASS whoever@example.org", 230);
            assert_eq!(client.expect("PWD", 257), "\"/\" is the working directory");
            client.expect("QUIT", 221);
            client.expect_closed();
        }
    }
}

#[test]
fn a_name_is_not_enough_on_an_anonymous_server() {
    let served = Served::start();
    let mut client = served.stranger();
    client.expect("USER root", 331);
    client.expect("PASS toor", 530);
}

#[test]
fn the_account_gets_in_with_its_password_only() {
    let served = joes();
    let mut client = served.stranger();
    client.expect("USER joe", 331);
    client.expect("PASS wrong", 530);
    client.expect("PASS s3cret word", 503);
    client.expect("USER anonymous", 331);
    client.expect("PASS me@", 530);
    client.expect("USER joe", 331);
    client.expect("PASS s3cret word", 230);
    client.expect("PWD", 257);
}

#[test]
fn the_third_wrong_password_closes_the_connection() {
    let served = joes();
    let mut client = served.stranger();
    for expected in [530, 530, 421] {
        client.expect("USER joe", 331);
        client.expect("PASS guess", expected);
    }
    client.expect_closed();
}

#[test]
fn a_stranger_can_ask_about_the_server_and_nothing_else() {
    let served = Served::start();
    served.write("file", "x");
    let mut client = served.stranger();
    for (line, code) in [
        ("SYST", 215),
        ("FEAT", 211),
        ("NOOP", 200),
        ("HELP", 214),
        ("OPTS UTF8 ON", 200),
    ] {
        client.expect(line, code);
    }
    for line in [
        "PWD",
        "EPSV",
        "PASV",
        "RETR file",
        "STOR x",
        "DELE file",
        "MLST",
        "STAT",
        "SIZE file",
        "REST 1",
    ] {
        client.expect(line, 530);
    }
    assert_eq!(served.read("file"), b"x");
    client.expect("ACCT x", 202);
    client.expect("PASS early", 503);
}

#[test]
fn a_new_user_command_ends_the_old_login() {
    let served = Served::start();
    let mut client = served.client();
    client.expect("PWD", 257);
    client.expect("USER eve", 331);
    client.expect("PWD", 530);
    client.expect("PASS x", 530);
    client.expect("PWD", 530);
}
