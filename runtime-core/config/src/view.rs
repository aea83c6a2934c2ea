//! Reads values of a table that was checked against its keys.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    error::ConfigError,
    schema::invalid,
    tree::{Node, Table, Value},
};

/// A table, or none: then every key is absent.
#[derive(Clone, Copy)]
pub struct View<'a>(pub Option<&'a Table>);

impl<'a> View<'a> {
    /// The table `name` within this one.
    pub fn table(self, name: &str) -> Result<Option<&'a Table>, ConfigError> {
        match self.node(name) {
            None => Ok(None),
            Some(Node {
                value: Value::Table(table),
                ..
            }) => Ok(Some(table)),
            Some(node) => Err(ConfigError::WrongType {
                at: node.at.clone(),
                key: name.to_owned(),
                expected: "a table".to_owned(),
                found: node.value.type_name(),
            }),
        }
    }

    /// The tables `[[name]]` within this one, in their order.
    pub fn tables(self, name: &str) -> Result<Vec<&'a Table>, ConfigError> {
        let Some(node) = self.node(name) else {
            return Ok(Vec::new());
        };
        let wrong = |found| ConfigError::WrongType {
            at: node.at.clone(),
            key: name.to_owned(),
            expected: "an array of tables".to_owned(),
            found,
        };
        let Value::List(items) = &node.value else {
            return Err(wrong(node.value.type_name()));
        };
        let tables = items.iter().map(|item| match item {
            Value::Table(table) => Ok(&**table),
            other => Err(wrong(other.type_name())),
        });
        tables.collect()
    }

    pub fn node(self, name: &str) -> Option<&'a Node> {
        self.0?.get(name)
    }

    pub fn bool(self, name: &str, default: bool) -> bool {
        match self.node(name).map(|node| &node.value) {
            Some(Value::Bool(value)) => *value,
            _ => default,
        }
    }

    pub fn int(self, name: &str) -> Option<i64> {
        match self.node(name).map(|node| &node.value) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// An integer that is not negative.
    pub fn count(self, name: &str) -> Option<u64> {
        self.int(name).and_then(|value| u64::try_from(value).ok())
    }

    pub fn float(self, name: &str) -> Option<f64> {
        match self.node(name).map(|node| &node.value) {
            Some(Value::Float(value)) => Some(*value),
            Some(Value::Int(value)) => Some(*value as f64),
            _ => None,
        }
    }

    /// A string that is not empty, and its node.
    pub fn text(self, name: &str) -> Option<(&'a str, &'a Node)> {
        let node = self.node(name)?;
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some((text, node)),
            _ => None,
        }
    }

    pub fn path(self, name: &str, default: &str) -> PathBuf {
        PathBuf::from(self.text(name).map_or(default, |(text, _)| text))
    }

    pub fn list(self, name: &str) -> impl Iterator<Item = &'a str> {
        let items: &[Value] = match self.node(name).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        };
        items.iter().filter_map(|item| match item {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A path that must name a regular file, if it is given.
    pub fn file(self, name: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some((text, node)) = self.text(name) else {
            return Ok(None);
        };
        match file_problem(Path::new(text)) {
            None => Ok(Some(PathBuf::from(text))),
            Some(problem) => Err(invalid(name, node, problem)),
        }
    }
}

/// Why this is no file to read.
fn file_problem(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Err(error) => Some(error.to_string()),
        Ok(metadata) if !metadata.is_file() => Some("Not a regular file".to_owned()),
        Ok(metadata) if metadata.len() == 0 => Some("The file is empty".to_owned()),
        Ok(_) => None,
    }
}

/// Why this is no program to run.
pub fn program_problem(path: &Path) -> Option<String> {
    file_problem(path).or_else(|| match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Some("The file is not executable".to_owned())
        }
        _ => None,
    })
}
