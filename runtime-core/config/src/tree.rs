//! Configuration files as one tree, with file and line of each value.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{ConfigError, Location, quote};

/// A table: keys in the order of the alphabet.
pub type Table = BTreeMap<String, Node>;

/// A value, with its file and line.
#[derive(Debug, Clone)]
pub struct Node {
    pub at: Location,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Table(Box<Table>),
    /// A date, or a number that does not fit 64 bits.
    Other(&'static str),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Value {
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }

    /// The value as text for an error, cut and escaped.
    pub fn shown(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(value) => format!("\"{}\"", quote(value)),
            Self::List(_) | Self::Table(_) | Self::Other(_) => self.type_name().to_owned(),
        }
    }
}

/// Parses the text of one file.
pub fn parse(file: &Arc<PathBuf>, text: &str) -> Result<Table, ConfigError> {
    let lines = Lines::new(file, text);
    match DeTable::parse(text) {
        Ok(table) => Ok(lines.table(table.get_ref())),
        Err(error) => Err(ConfigError::Syntax {
            at: lines.at(error.span().unwrap_or(0..0)),
            message: quote_message(error.message()),
        }),
    }
}

/// The parser's message, which may contain parts of the file, cut and escaped.
fn quote_message(message: &str) -> String {
    let lines: Vec<_> = message.lines().take(4).map(quote).collect();
    lines.join(", ")
}

/// Merges `over` into `base`: tables are merged, all other values of `base` are replaced.
pub fn merge(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key).map(|below| &mut below.value), node.value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, *above),
            (_, value) => {
                base.insert(key, Node { at: node.at, value });
            }
        }
    }
}

/// Finds the line of an offset.
struct Lines<'a> {
    file: &'a Arc<PathBuf>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a Arc<PathBuf>, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            starts: ends.map(|(at, _)| at + 1).collect(),
        }
    }

    fn at(&self, span: Range<usize>) -> Location {
        Location {
            file: self.file.clone(),
            line: 1 + self.starts.partition_point(|start| *start <= span.start),
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        table
            .iter()
            .map(|(key, value)| {
                let node = Node {
                    at: self.at(key.span()),
                    value: self.value(value),
                };
                (key.get_ref().to_string(), node)
            })
            .collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number beyond 64 bits"), Value::Int),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or(Value::Other("no number"), Value::Float),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.iter().map(|i| self.value(i)).collect()),
            DeValue::Table(table) => Value::Table(Box::new(self.table(table))),
        }
    }
}
