//! Facts, features and sizes that are written in odd ways.

use crate::row::{group, row};
use crate::support::Quirks;

#[test]
fn features_in_odd_ways() {
    let mut rows = Vec::new();
    let answers = [
        "211-MLST size*;\n211-SIZE\n211-MDTM\n211-REST STREAM\n211 End",
        "211-Features:\nMLST type*;size*;modify*;\nSIZE\nREST STREAM\n211 End",
        "211-Features:\n\tMLST type*;size*;modify*;\n\tSIZE\n211 End",
        "211-Features:\n    mlst type*;size*;modify*;\n    size\n211 END",
        "211-Features:\n211-MLST type*;size*;modify*;\n211-SIZE\n211 End",
        "211-Features:\n211- MLST type*;size*;modify*;\n211- SIZE\n211 End",
    ];
    rows.extend(answers.map(|answer| {
        row(
            format!("mlsd_is_used: {answer:?}"),
            Quirks::none().says("FEAT", answer),
            |t| {
                t.lists("docs", "a.txt b.txt");
                assert!(t.server.count("MLSD") > 0, "{:?}", t.server.commands());
            },
        )
    }));
    let refusals = [
        "500 What?",
        "502 Not implemented",
        "530 Not allowed",
        "550 No",
        "504 No features",
        "211 None",
        "202 Superfluous",
    ];
    rows.extend(refusals.map(|answer| {
        row(
            format!("the_server_is_used_without_features: {answer}"),
            Quirks::none().says("FEAT", answer),
            |t| {
                t.lists("docs", "a.txt b.txt");
                t.run("echo new > docs/new.txt");
                t.holds("/docs/new.txt", "new\n");
            },
        )
    }));
    group(rows);
}
