use super::*;
use crate::ftp::reply::ReplyCode;

fn introduced(greeting: &str, features: &[&str]) -> ServerProfile {
    let profile = ServerProfile::default();
    let features = Features::named(features);
    let greeting = Reply::new(ReplyCode(220), vec![greeting.as_bytes().to_vec()]);
    profile.record_login(&greeting, &features);
    profile
}

#[test]
fn what_was_observed_outweighs_what_was_announced() {
    let profile = introduced("hello", &["MLST type*;", "SIZE"]);
    assert!(profile.has(Capability::Mlsd) && !profile.has(Capability::Mdtm));
    assert!(profile.fails(Capability::Mlsd, &"500"), "news");
    assert!(!profile.fails(Capability::Mlsd, &"500"), "no news");
    let greeting = Reply::new(ReplyCode(220), vec![b"hello".to_vec()]);
    profile.record_login(&greeting, &Features::default());
    assert!(!profile.has(Capability::Mlsd));
}

#[test]
fn what_the_user_switched_off_stays_off() {
    let profile = ServerProfile::without(&[Capability::Mlsd]);
    profile.works(Capability::Mlsd);
    assert!(!profile.has(Capability::Mlsd) && profile.has(Capability::Mlst));
}

#[test]
fn doubts_become_a_failure_when_there_are_enough() {
    let profile = ServerProfile::default();
    profile.works(Capability::Epsv);
    assert!(!profile.doubt(Capability::Epsv, 3, &"refused"));
    assert!(!profile.doubt(Capability::Epsv, 3, &"refused"));
    assert!(profile.has(Capability::Epsv));
    assert!(profile.doubt(Capability::Epsv, 3, &"refused"));
    assert!(!profile.has(Capability::Epsv));
}

#[test]
fn a_server_out_of_step_loses_pipelining_only_while_something_was_sent_ahead() {
    let profile = ServerProfile::default();
    assert!(!profile.suspect(Suspicion::OutOfStep, 1, false));
    assert!(profile.has(Capability::Pipelining));
    assert!(profile.suspect(Suspicion::OutOfStep, 2, false));
    assert!(!profile.has(Capability::Pipelining) && !profile.has(Capability::EarlyDataConnection));
    assert_eq!(profile.demotions(), 1);
    assert!(!profile.suspect(Suspicion::OutOfStep, 2, true), "no news");
}

#[test]
fn a_lost_connection_says_nothing_of_a_server_that_has_proved_itself() {
    for sign in [Suspicion::Closed, Suspicion::Silence] {
        let profile = introduced("(vsFTPd 3.0.3)", &[]);
        assert!(!profile.suspect(sign, 9, true), "{sign:?}");
        let profile = introduced("hello", &[]);
        assert!(profile.suspect(sign, 9, false), "{sign:?}");
    }
    let profile = introduced("(vsFTPd 3.0.3)", &[]);
    assert!(profile.suspect(Suspicion::Nonsense, 2, false));
}

#[test]
fn an_early_data_connection_is_proved_by_a_transfer_and_by_commands_beside_it() {
    let profile = ServerProfile::default();
    profile.record_early_transfer();
    profile.record_early_transfer();
    assert!(!profile.is_proven(Capability::EarlyDataConnection));
    profile.record_reply_while_held();
    assert!(profile.is_proven(Capability::EarlyDataConnection));
}

#[test]
fn a_reply_is_waited_for_four_round_trips_and_a_second_at_least() {
    let of = |milliseconds| ServerProfile::patience(Duration::from_millis(milliseconds));
    assert_eq!(of(3), Duration::from_secs(1));
    assert_eq!(of(400), Duration::from_millis(1600));
}
