//! Reads values of a table that was checked against its keys.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    error::ConfigError,
    key::{Choice, Key, invalid},
    schema::Rule,
    tree::{Node, Table, Value},
};

/// A table, or none: then every key is absent.
#[derive(Clone, Copy)]
pub struct View<'a>(pub Option<&'a Table>);

impl<'a> View<'a> {
    /// The table within this one.
    pub fn table(self, key: Key<Table>) -> Self {
        match self.value(key) {
            Some(Value::Table(table)) => Self(Some(&**table)),
            _ => Self(None),
        }
    }

    /// The tables within this one, in their order.
    pub fn tables(self, key: Key<[Table]>) -> impl Iterator<Item = &'a Table> {
        self.items(key).iter().filter_map(|item| match item {
            Value::Table(table) => Some(&**table),
            _ => None,
        })
    }

    /// The value of any type, with its file and line.
    pub fn node<T: ?Sized>(self, key: Key<T>) -> Option<&'a Node> {
        self.node_of(&key.rule())
    }

    /// As [`View::node`], for any of a section's keys.
    pub fn node_of(self, key: &Rule) -> Option<&'a Node> {
        self.0?.get(key.name)
    }

    fn value<T: ?Sized>(self, key: Key<T>) -> Option<&'a Value> {
        self.node(key).map(|node| &node.value)
    }

    fn items<T: ?Sized>(self, key: Key<T>) -> &'a [Value] {
        match self.value(key) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    pub fn bool(self, key: Key<bool>, default: bool) -> bool {
        match self.value(key) {
            Some(Value::Bool(value)) => *value,
            _ => default,
        }
    }

    pub fn count(self, key: Key<u64>) -> Option<u64> {
        match self.value(key) {
            Some(Value::Int(value)) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// As [`View::count`]; what is larger than a `u32` becomes the largest one.
    pub fn count_u32(self, key: Key<u64>) -> Option<u32> {
        let count = self.count(key)?;
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub fn float(self, key: Key<f64>) -> Option<f64> {
        match self.value(key) {
            Some(Value::Float(value)) => Some(*value),
            Some(Value::Int(value)) => Some(*value as f64),
            _ => None,
        }
    }

    /// The value that the word in the file stands for.
    pub fn choice<T: Choice>(self, key: Key<T>) -> Option<T> {
        match self.value(key) {
            Some(Value::Text(word)) => T::from_word(word),
            _ => None,
        }
    }

    /// A string that is not empty, and its node.
    pub fn text(self, key: Key<str>) -> Option<(&'a str, &'a Node)> {
        self.full(key)
    }

    /// A path that is not empty, and its node.
    pub fn path(self, key: Key<Path>) -> Option<(&'a Path, &'a Node)> {
        self.full(key).map(|(text, node)| (Path::new(text), node))
    }

    fn full<T: ?Sized>(self, key: Key<T>) -> Option<(&'a str, &'a Node)> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some((text, node)),
            _ => None,
        }
    }

    pub fn path_or(self, key: Key<Path>, default: &str) -> PathBuf {
        let given = self.path(key).map(|(path, _)| path);
        given.unwrap_or(Path::new(default)).to_path_buf()
    }

    pub fn list(self, key: Key<[String]>) -> impl Iterator<Item = &'a str> {
        self.items(key).iter().filter_map(|item| match item {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A path that must name a regular file, if it is given.
    pub fn file(self, key: Key<Path>) -> Result<Option<PathBuf>, ConfigError> {
        let Some((path, node)) = self.path(key) else {
            return Ok(None);
        };
        match file_problem(path) {
            None => Ok(Some(path.to_path_buf())),
            Some(problem) => Err(invalid(key, node, problem)),
        }
    }
}

/// Why this path cannot be read as a file; `None` if it can.
fn file_problem(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Err(error) => Some(error.to_string()),
        Ok(metadata) if !metadata.is_file() => Some("Not a regular file".to_owned()),
        Ok(metadata) if metadata.len() == 0 => Some("The file is empty".to_owned()),
        Ok(_) => None,
    }
}

/// Why this path cannot be executed; `None` if it can.
pub fn program_problem(path: &Path) -> Option<String> {
    file_problem(path).or_else(|| match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Some("The file is not executable".to_owned())
        }
        _ => None,
    })
}
