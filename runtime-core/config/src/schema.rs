//! Checks a table against the keys that it may have.

use super::{
    error::{ConfigError, quote},
    nearest::nearest,
    tree::{Node, Table, Value},
};

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Bool,
    /// An integer from the first to the second.
    Int(i64, i64),
    Float,
    Text,
    /// One of the strings that the function lists.
    OneOf(fn() -> Vec<&'static str>),
    /// A string, either empty or an absolute path.
    Path,
    TextList,
    /// A table, whose keys are checked against a section of its own.
    Table,
    /// As `Table`, any number of them.
    Tables,
}

/// What a value is used for.
#[derive(Debug, Clone, Copy)]
pub enum Use {
    /// It is read by this name.
    Read,
    /// It is read, and is another name of a key that is read and documented.
    Alias,
    /// It is refused unless it asks for nothing; the text says why, and what to write instead.
    Only(Nothing, &'static str),
    /// It has no effect; the text says why.
    Unused(&'static str),
}

/// Values that ask for nothing, so a key without support may have them.
#[derive(Debug, Clone, Copy)]
pub enum Nothing {
    Is(bool),
    Number(i64),
    /// An empty string or array.
    Empty,
    Words(&'static [&'static str]),
}

/// A key that a table may have, and what its value is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    pub kind: Kind,
    pub use_: Use,
}

/// A table that the configuration may have.
#[derive(Debug)]
pub struct Section {
    /// Name in messages, as in `[hypervisor.qemu]`.
    pub name: &'static str,
    pub keys: &'static [&'static [Rule]],
}

impl Section {
    fn all(&self) -> impl Iterator<Item = &'static Rule> {
        self.keys.iter().flat_map(|keys| keys.iter())
    }

    /// The keys that are read, without aliases: those that `configuration.toml` documents.
    pub fn read(&self) -> impl Iterator<Item = &'static Rule> {
        self.all().filter(|key| matches!(key.use_, Use::Read))
    }

    /// Checks all keys and values of a table; returns a warning for each value without effect.
    pub fn check(&self, table: &Table) -> Result<Vec<String>, ConfigError> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by(|a, b| a.1.at.cmp(&b.1.at));
        let mut warnings = Vec::new();
        for (name, node) in entries {
            let Some(key) = self.all().find(|key| key.name == name) else {
                return Err(self.unknown(name, node));
            };
            key.check(node)?;
            if let Use::Unused(why) = key.use_ {
                warnings.push(format!("{}: {name} has no effect: {why}", node.at));
            }
        }
        Ok(warnings)
    }

    fn unknown(&self, name: &str, node: &Node) -> ConfigError {
        let guess = nearest(name, self.all().map(|key| key.name));
        ConfigError::UnknownKey {
            at: node.at.clone(),
            section: self.name.to_owned(),
            key: quote(name),
            hint: guess.map_or(String::new(), |guess| format!("; did you mean {guess}?")),
        }
    }
}

impl Rule {
    fn check(&self, node: &Node) -> Result<(), ConfigError> {
        let right_type = match (self.kind, &node.value) {
            (Kind::Bool, Value::Bool(_))
            | (Kind::Int(..), Value::Int(_))
            | (Kind::Float, Value::Int(_) | Value::Float(_))
            | (Kind::Text | Kind::OneOf(_) | Kind::Path, Value::Text(_)) => true,
            (Kind::TextList, Value::List(items)) => {
                items.iter().all(|item| matches!(item, Value::Text(_)))
            }
            (Kind::Table, Value::Table(_)) => true,
            (Kind::Tables, Value::List(items)) => {
                items.iter().all(|item| matches!(item, Value::Table(_)))
            }
            _ => false,
        };
        if !right_type {
            return Err(ConfigError::WrongType {
                at: node.at.clone(),
                key: self.name.to_owned(),
                expected: self.kind.describe(),
                found: node.value.type_name(),
            });
        }
        if let Some(reason) = self.kind.refuses(&node.value) {
            return Err(self.invalid(node, reason));
        }
        match self.use_ {
            Use::Only(nothing, why) if !nothing.is(&node.value) => {
                Err(self.invalid(node, format!("Not supported: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// The error for an invalid value of this key.
    pub fn invalid(&self, node: &Node, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            at: node.at.clone(),
            key: self.name.to_owned(),
            value: node.value.shown(),
            reason: reason.into(),
        }
    }
}

impl Kind {
    fn describe(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int(..) => "an integer".to_owned(),
            Self::Float => "a number".to_owned(),
            Self::Text | Self::OneOf(_) | Self::Path => "a string".to_owned(),
            Self::TextList => "an array of strings".to_owned(),
            Self::Table => "a table".to_owned(),
            Self::Tables => "an array of tables".to_owned(),
        }
    }

    /// Why a value of the right type is invalid.
    fn refuses(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Int(min, max), Value::Int(n)) if !(min..=max).contains(n) => {
                Some(format!("Must be from {min} to {max}"))
            }
            (Self::Float, Value::Float(n)) if !n.is_finite() => Some("Must be finite".to_owned()),
            (Self::OneOf(words), Value::Text(text)) if !words().contains(&text.as_str()) => {
                Some(format!("Must be one of {}", words().join(", ")))
            }
            (Self::Path, Value::Text(text)) if text.contains('\0') => {
                Some("A path cannot contain a NUL byte".to_owned())
            }
            (Self::Path, Value::Text(text)) if !text.is_empty() && !text.starts_with('/') => {
                Some("Must be an absolute path".to_owned())
            }
            _ => None,
        }
    }
}

impl Nothing {
    fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Is(wanted), Value::Bool(value)) => wanted == *value,
            (Self::Number(wanted), Value::Int(value)) => wanted == *value,
            (Self::Empty, Value::Text(text)) => text.is_empty(),
            (Self::Empty, Value::List(items)) => items.is_empty(),
            (Self::Words(words), Value::Text(text)) => words.contains(&text.as_str()),
            _ => false,
        }
    }
}
