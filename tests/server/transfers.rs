//! Downloads and uploads.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::FileExt;

use crate::client::{Served, pattern};

#[test]
fn what_is_stored_comes_back_byte_for_byte() {
    for served in Served::on_both_families() {
        let mut client = served.client();
        client.expect("TYPE I", 200);
        for size in [0, 1, 65_536, 3_000_001] {
            let contents = pattern(size);
            assert_eq!(client.upload("STOR file", &contents).code, 226);
            assert_eq!(served.read("file"), contents);
            let (bytes, reply) = client.receive("RETR file");
            assert_eq!(reply.code, 226);
            assert!(bytes == contents, "{size} bytes came back changed");
            assert_eq!(client.expect("SIZE file", 213), size.to_string());
        }
    }
}

#[test]
fn a_shorter_upload_leaves_nothing_of_the_longer_one() {
    let served = Served::start();
    served.write("file", "a long text");
    assert_eq!(served.client().upload("STOR file", b"short").code, 226);
    assert_eq!(served.read("file"), b"short");
}

#[test]
fn appending_goes_behind_the_end_and_makes_what_is_missing() {
    let served = Served::start();
    let mut client = served.client();
    assert_eq!(client.upload("APPE log", b"one ").code, 226);
    assert_eq!(client.upload("APPE log", b"two").code, 226);
    assert_eq!(served.read("log"), b"one two");
}

#[test]
fn a_restart_marker_holds_for_one_transfer_only() {
    let served = Served::start();
    served.write("file", "0123456789");
    let mut client = served.client();
    client.expect("REST 4", 350);
    assert_eq!(client.receive("RETR file").0, b"456789");
    assert_eq!(client.receive("RETR file").0, b"0123456789");
    client.expect("REST 4", 350);
    client.lines("NLST");
    assert_eq!(client.receive("RETR file").0, b"0123456789");
    client.expect("REST 10", 350);
    assert_eq!(client.receive("RETR file").0, b"");
    client.expect("REST 11", 350);
    assert_eq!(client.receive("RETR file").1.code, 554);
}

/// In draft-bryan-ftp-range, the last octet is included, and `RANG 1 0` resets the range.
#[test]
fn a_range_holds_for_one_download_and_ends_it() {
    let served = Served::start();
    served.write("file", "0123456789");
    let mut client = served.client();
    client.expect("RANG 4 6", 350);
    let (content, reply) = client.receive("RETR file");
    assert_eq!((&content[..], reply.code), (&b"456"[..], 226));
    assert_eq!(client.receive("RETR file").0, b"0123456789");
    client.expect("RANG 8 100", 350);
    assert_eq!(client.receive("RETR file").0, b"89");
    client.expect("RANG 4 6", 350);
    client.expect("RANG 1 0", 350);
    assert_eq!(client.receive("RETR file").0, b"0123456789");
    client.expect("RANG 4 6", 350);
    client.expect("REST 7", 350);
    assert_eq!(client.receive("RETR file").0, b"789");
    for bad in ["RANG", "RANG 1", "RANG 6 4", "RANG -1 4", "RANG a b"] {
        client.expect(bad, 501);
    }
    client.expect("RANG 4 6", 350);
    assert_eq!(client.upload("STOR file", b"xy").code, 503);
    assert_eq!(served.read("file"), b"0123456789");
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let served = Served::start();
    served.write("file", "0123456789");
    let mut client = served.client();
    client.expect("REST 4", 350);
    assert_eq!(client.upload("STOR file", b"xy").code, 226);
    assert_eq!(served.read("file"), b"0123xy");
}

#[test]
fn markers_that_are_no_numbers_are_refused() {
    let served = Served::start();
    let mut client = served.client();
    for bad in [
        "REST",
        "REST x",
        "REST -1",
        "REST 9223372036854775808",
        "REST 1 ",
    ] {
        client.expect(bad, 501);
    }
}

#[test]
fn offsets_beyond_4_gib_are_exact_both_ways() {
    const OFFSET: u64 = (5 << 30) + 12_345;
    let served = Served::start();
    let file = File::create(served.path("sparse")).unwrap();
    file.write_all_at(b"the end", OFFSET).unwrap();
    let mut client = served.client();
    assert_eq!(client.expect("SIZE sparse", 213), (OFFSET + 7).to_string());
    client.expect(format!("REST {OFFSET}"), 350);
    assert_eq!(client.receive("RETR sparse").0, b"the end");
    client.expect(format!("REST {}", OFFSET + 4), 350);
    assert_eq!(client.upload("STOR sparse", b"last").code, 226);
    assert_eq!(file.metadata().unwrap().len(), OFFSET + 8);
    client.expect(format!("REST {OFFSET}"), 350);
    assert_eq!(client.receive("RETR sparse").0, b"the last");
    let facts = client.command("MLST sparse").inner;
    let facts = String::from_utf8(facts.concat()).unwrap();
    assert!(facts.contains(&format!("size={};", OFFSET + 8)), "{facts}");
}

#[test]
fn what_is_no_file_is_not_sent() {
    let served = Served::start();
    std::fs::create_dir(served.path("directory")).unwrap();
    let mut client = served.client();
    assert_eq!(
        client.expect("RETR missing", 550),
        "No such file or directory"
    );
    assert_eq!(client.expect("RETR directory", 550), "Is a directory");
    assert_eq!(client.expect("SIZE directory", 550), "Is a directory");
    assert_eq!(client.expect("STOR directory", 550), "Is a directory");
    assert_eq!(
        client.expect("STOR missing/file", 550),
        "No such file or directory"
    );
    client.expect("RETR", 501);
    client.expect("STOR", 501);
}

#[test]
fn a_fifo_does_not_hold_the_session_up() {
    let served = Served::start();
    let made = std::process::Command::new("mkfifo")
        .arg(served.path("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    let mut client = served.client();
    assert_eq!(client.expect("RETR fifo", 550), "Not a regular file");
    client.expect("STOR fifo", 550);
    client.expect("NOOP", 200);
}

#[test]
fn without_a_data_connection_nothing_is_made() {
    let served = Served::start();
    let mut client = served.client();
    client.expect("STOR new", 425);
    client.expect("RETR missing", 550);
    client.expect("MLSD", 425);
    assert!(!served.path("new").exists());
}

#[test]
fn active_mode_works_with_port_and_eprt() {
    for (served, family) in Served::on_both_families().into_iter().zip([1, 2]) {
        served.write("file", "active");
        let mut client = served.client();
        let host = client.socket().local_addr().unwrap().ip();
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        client.expect(format!("EPRT |{family}|{host}|{port}|"), 200);
        client.send(b"RETR file\r\n");
        let (mut data, _) = listener.accept().unwrap();
        let mut bytes = String::new();
        data.read_to_string(&mut bytes).unwrap();
        assert_eq!(bytes, "active");
        assert_eq!([client.reply().code, client.reply().code], [150, 226]);
        if family == 1 {
            client.expect(format!("PORT 127,0,0,1,{},{}", port / 256, port % 256), 200);
            client.send(b"STOR up\r\n");
            let (mut data, _) = listener.accept().unwrap();
            data.write_all(b"sent").unwrap();
            data.shutdown(Shutdown::Write).unwrap();
            assert_eq!([client.reply().code, client.reply().code], [150, 226]);
            assert_eq!(served.read("up"), b"sent");
        }
    }
}

#[test]
fn passive_mode_works_with_pasv_on_ipv4_and_names_the_way_on_ipv6() {
    let [four, six] = Served::on_both_families();
    four.write("file", "passive");
    let mut client = four.client();
    let data = client.passive();
    assert_eq!(client.receive_over(data, "RETR file").0, b"passive");
    assert!(six.client().expect("PASV", 522).contains("EPSV"));
}

#[test]
fn other_types_modes_and_structures_are_refused() {
    let served = Served::start();
    let mut client = served.client();
    for (line, code) in [
        ("TYPE A", 200),
        ("TYPE A N", 200),
        ("TYPE i", 200),
        ("TYPE L 8", 200),
        ("TYPE E", 504),
        ("MODE S", 200),
        ("MODE B", 504),
        ("STRU F", 200),
        ("STRU R", 504),
        ("ALLO 5", 202),
        ("NONSENSE", 500),
        ("", 500),
    ] {
        client.expect(line, code);
    }
}

#[test]
fn ascii_type_carries_the_bytes_as_they_are() {
    let served = Served::start();
    let mut client = served.client();
    client.expect("TYPE A", 200);
    assert_eq!(client.upload("STOR text", b"a\nb\r\n").code, 226);
    assert_eq!(served.read("text"), b"a\nb\r\n");
    assert_eq!(client.receive("RETR text").0, b"a\nb\r\n");
}
