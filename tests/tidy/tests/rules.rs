//! Holds the sources to the rules, as far as `ratchet.toml` asks.

use tidy::{RULES, Ratchet, Sources, verdict};

fn check(name: &str) -> Result<(), String> {
    let rule = RULES.iter().find(|rule| rule.name == name);
    let rule = rule.ok_or_else(|| format!("There is no rule {name}"))?;
    let sources = Sources::read().map_err(|error| format!("Reading the sources: {error}"))?;
    let ratchet = Ratchet::read().map_err(|error| format!("Reading ratchet.toml: {error}"))?;
    verdict(rule, &sources, &ratchet)
}

fn hold(name: &str) {
    let problems = check(name).err().unwrap_or_default();
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn doc_comments_say_something() {
    hold("doc_comments");
}

#[test]
fn lines_of_pages_are_short_or_one_sentence() {
    hold("doc_lines");
}

#[test]
fn errors_do_not_repeat_their_source() {
    hold("error_sources");
}

#[test]
fn errors_are_in_sentence_case() {
    hold("error_texts");
}

#[test]
fn files_are_short() {
    hold("file_lengths");
}

#[test]
fn modules_and_tests_are_where_the_others_are() {
    hold("layout");
}

#[test]
fn links_lead_somewhere() {
    hold("links");
}

#[test]
fn log_messages_are_a_verb_and_an_object() {
    hold("logs");
}

#[test]
fn lines_of_rust_are_short() {
    hold("rust_lines");
}

#[test]
fn texts_use_the_words_of_the_field() {
    hold("words");
}

#[test]
fn environment_variables_are_documented() {
    hold("variables");
}
