//! Servers that send arbitrary bytes.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::ftp::Session;
use crate::ftp::testing::{Peer, SHORT};

/// Generates bytes that resemble FTP more often than by chance.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "[1-5][0-9]{2}[ -][ -~]{0,20}\r\n".prop_map(String::into_bytes),
        "(220|331|230|211|200)[ -]?[a-z (|,0-9)]{0,20}\r?\n".prop_map(String::into_bytes),
        Just(b"211-Features:\r\n MLST type;\r\n UTF8\r\n211 End\r\n".to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_words_make_a_login_panic_or_hang(words in words()) {
        let peer = Peer::plays(move |stage| {
            stage.send(&words);
            stage.drain();
        });
        let start = Instant::now();
        // A login may even succeed. It only has to end.
        let session = Session::connect(&peer.impatient());
        // At most one timeout per login step, and some time for a busy machine.
        prop_assert!(start.elapsed() < SHORT * 10 + Duration::from_secs(1));
        drop(session);
        peer.join();
    }
}
