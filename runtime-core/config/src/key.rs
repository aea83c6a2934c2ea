//! Keys that are read. Each is declared once, with the type of its value, and its value is read
//! through that declaration, so a misspelt key does not compile.

use std::{marker::PhantomData, path::Path};

use super::{
    ConfigError,
    schema::{Kind, Rule, Use},
    tree::{Node, Table},
};

/// A key whose value is read as a `T`.
pub struct Key<T: ?Sized> {
    rule: Rule,
    value: PhantomData<fn() -> T>,
}

impl<T: ?Sized> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Key<T> {}

impl<T: ?Sized> Key<T> {
    const fn new(name: &'static str, kind: Kind) -> Self {
        let use_ = Use::Read;
        Self {
            rule: Rule { name, kind, use_ },
            value: PhantomData,
        }
    }

    /// The name in the configuration file.
    pub const fn name(self) -> &'static str {
        self.rule.name
    }

    /// What its value is checked against.
    pub const fn rule(self) -> Rule {
        self.rule
    }

    /// A second name for a key that is documented by its first one.
    pub const fn alias(mut self) -> Self {
        self.rule.use_ = Use::Alias;
        self
    }
}

impl Key<bool> {
    /// A key with `true` or `false`.
    pub const fn switch(name: &'static str) -> Self {
        Self::new(name, Kind::Bool)
    }
}

impl Key<u64> {
    /// An integer from `min`, which is not negative, to `max`.
    pub const fn count(name: &'static str, min: i64, max: i64) -> Self {
        Self::new(name, Kind::Int(min, max))
    }
}

impl Key<f64> {
    /// A number with or without a fraction.
    pub const fn number(name: &'static str) -> Self {
        Self::new(name, Kind::Float)
    }
}

impl Key<str> {
    /// A key with any string.
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }
}

impl Key<Path> {
    /// An absolute path, or an empty string.
    pub const fn path(name: &'static str) -> Self {
        Self::new(name, Kind::Path)
    }
}

impl Key<[String]> {
    /// An array of strings.
    pub const fn texts(name: &'static str) -> Self {
        Self::new(name, Kind::TextList)
    }
}

impl<T: Choice> Key<T> {
    /// A key with one of the words of `T`.
    pub const fn choice(name: &'static str) -> Self {
        Self::new(name, Kind::OneOf(T::words))
    }
}

impl Key<Table> {
    /// A table, which has a section of its own.
    pub const fn table(name: &'static str) -> Self {
        Self::new(name, Kind::Table)
    }
}

impl Key<[Table]> {
    /// An array of tables, which have a section of their own.
    pub const fn tables(name: &'static str) -> Self {
        Self::new(name, Kind::Tables)
    }
}

/// A value that is written as one of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// All values, each with its word.
    const WORDS: &'static [(&'static str, Self)];

    /// The words, in the order in which an error lists them.
    fn words() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).collect()
    }

    /// The value that this word stands for.
    fn from_word(word: &str) -> Option<Self> {
        let mut all = Self::WORDS.iter();
        all.find(|(known, _)| *known == word)
            .map(|(_, value)| *value)
    }
}

/// The error for a value that passed the check of its key and is invalid for another reason.
pub fn invalid<T: ?Sized>(key: Key<T>, node: &Node, reason: impl Into<String>) -> ConfigError {
    key.rule().invalid(node, reason)
}
