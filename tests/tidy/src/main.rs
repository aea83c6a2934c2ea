#![forbid(unsafe_code)]
//! `tidy`: lists what the rules find, or lowers the numbers of `ratchet.toml`.

use std::{io, process::ExitCode};

use tidy::{RULES, Ratchet, Sources};

const USAGE: &str = "\
Usage: cargo run -p tidy               lists all findings
       cargo run -p tidy -- RULE       lists those of one rule
       cargo run -p tidy -- lower      lowers the numbers of ratchet.toml to what is left
       cargo run -p tidy -- recount    writes the numbers of now, after a folder was renamed";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => list(None),
        ["lower"] => rewrite(Ratchet::lowered),
        ["recount"] => rewrite(Ratchet::counted),
        [rule] if RULES.iter().any(|known| known.name == *rule) => list(Some(rule)),
        _ => {
            let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
            eprintln!("{USAGE}\nRules: {}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn list(only: Option<&str>) -> io::Result<()> {
    let sources = Sources::read()?;
    for rule in RULES
        .iter()
        .filter(|rule| only.is_none_or(|only| rule.name == only))
    {
        let findings = rule.findings(&sources);
        println!("== {}: {} ({})", rule.name, rule.says, findings.len());
        findings.iter().for_each(|finding| println!("{finding}"));
    }
    Ok(())
}

fn rewrite(change: fn(&Ratchet, &Sources) -> Ratchet) -> io::Result<()> {
    change(&Ratchet::read()?, &Sources::read()?).write()
}
