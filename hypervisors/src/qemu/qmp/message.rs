//! What QEMU sends: the greeting, replies and events.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of QEMU.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first message of a connection.
    Greeting(Version),
    /// The answer to the command of that number.
    Reply {
        /// The command's number; absent when QEMU could not read it.
        id: Option<u64>,
        /// The value, or QEMU's words for its refusal.
        outcome: Result<Value, String>,
    },
    /// What QEMU sends without being asked.
    Event(Event),
}

/// Something that happened in QEMU.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, as in `MIGRATION`.
    pub name: String,
    /// What is known about it; an object, or null.
    pub data: Value,
}

impl Event {
    /// The text in field `field` of the event's data.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.data.get(field)?.as_str()
    }
}

/// A version of QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
    /// The packager's addition, often empty.
    pub package: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        if self.package.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.package)
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "QMP")]
    greeting: Option<RawGreeting>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<RawError>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct RawGreeting {
    version: RawVersion,
}

#[derive(Deserialize)]
struct RawVersion {
    qemu: RawNumbers,
    package: String,
}

#[derive(Deserialize)]
struct RawNumbers {
    major: u32,
    minor: u32,
    micro: u32,
}

#[derive(Deserialize)]
struct RawError {
    class: String,
    desc: String,
}

/// Reads one line of QEMU.
///
/// # Errors
/// What is wrong with it, for a log.
pub fn parse(line: &[u8]) -> Result<Message, String> {
    let raw: Raw = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if let Some(name) = raw.event {
        return Ok(Message::Event(Event {
            name,
            data: raw.data,
        }));
    }
    if let Some(RawGreeting {
        version: RawVersion { qemu, package },
    }) = raw.greeting
    {
        let RawNumbers {
            major,
            minor,
            micro,
        } = qemu;
        let package = package.trim().trim_matches(['(', ')']).to_owned();
        return Ok(Message::Greeting(Version {
            major,
            minor,
            micro,
            package,
        }));
    }
    let outcome = match (raw.value, raw.error) {
        (Some(value), None) => Ok(value),
        (None, Some(error)) => Err(words(error)),
        _ => return Err(String::from("neither a greeting, a reply nor an event")),
    };
    Ok(Message::Reply {
        id: raw.id,
        outcome,
    })
}

fn words(error: RawError) -> String {
    match error.class.as_str() {
        "GenericError" => error.desc,
        class => format!("{} ({class})", error.desc),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_greeting_carries_the_version() {
        let line = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7},
            "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}"#;
        let Message::Greeting(version) = parse(line).unwrap() else {
            panic!("no greeting")
        };
        assert_eq!(version.to_string(), "7.2.22 (Debian 1:7.2)");
    }

    #[test]
    fn replies_keep_their_number_and_their_words() {
        assert_eq!(
            parse(br#"{"return": {"a": 1}, "id": 4}"#),
            Ok(Message::Reply {
                id: Some(4),
                outcome: Ok(json!({"a": 1}))
            })
        );
        assert_eq!(
            parse(br#"{"id": 5, "error": {"class": "DeviceNotFound", "desc": "No x"}}"#),
            Ok(Message::Reply {
                id: Some(5),
                outcome: Err("No x (DeviceNotFound)".into())
            })
        );
    }

    #[test]
    fn an_unknown_event_is_an_event() {
        let line = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "NEW_THING"}"#;
        let event = Event {
            name: "NEW_THING".into(),
            data: Value::Null,
        };
        assert_eq!(parse(line), Ok(Message::Event(event)));
    }

    #[test]
    fn half_a_message_and_other_json_are_refused() {
        for line in [
            &b"{\"return\": {"[..],
            b"[]",
            b"{}",
            b"7",
            b"\xff",
            b"",
            b"{\"id\": 1}",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        let line = [b"{\"return\": ".to_vec(), vec![b'['; 100_000]].concat();
        assert!(parse(&line).is_err());
    }
}
