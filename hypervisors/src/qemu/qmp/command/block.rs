//! Commands about the files and devices behind disks.

use serde::Serialize;

use super::Empty;

commands! {
    BlockdevAdd<'a> = "blockdev-add" -> Empty;
    BlockdevOpen<'a> = "blockdev-add" -> Empty;
    RawNode<'a> = "blockdev-add" -> Empty;
    BlockdevReopen<'a> = "blockdev-reopen" -> Empty;
    BlockdevDel<'a> = "blockdev-del" -> Empty;
}

/// Opens a disk's backing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevAdd<'a> {
    pub driver: &'a str,
    /// The name of the format's node.
    pub node_name: &'a str,
    pub read_only: bool,
    /// Whether a discard reaches the backing.
    pub discard: &'a str,
    /// Where the bytes are.
    pub file: BlockdevFile<'a>,
}

/// A file or a block device below a format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevFile<'a> {
    /// `file` for a regular file, `host_device` for a block device.
    pub driver: &'a str,
    pub filename: &'a str,
    pub read_only: bool,
    /// Whether the file is locked against other users.
    pub locking: &'a str,
}

/// Opens a file or an empty disk without a format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevOpen<'a> {
    pub node_name: &'a str,
    pub read_only: bool,
    #[serde(flatten)]
    pub content: Content<'a>,
}

/// What a node without a format is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "driver")]
pub enum Content<'a> {
    /// A regular file, by its path.
    File {
        filename: &'a str,
        /// Whether the file is locked against other users.
        locking: &'a str,
    },
    /// Nothing: all of it reads as zeroes.
    #[serde(rename = "null-co", rename_all = "kebab-case")]
    Nothing {
        /// Its size in bytes.
        size: u64,
        read_zeroes: bool,
    },
}

/// Changes nodes that are in use.
#[derive(Debug, Serialize)]
pub struct BlockdevReopen<'a> {
    /// All that the nodes are to be from now on.
    pub options: [RawNode<'a>; 1],
}

/// Opens or describes a read-only window on another node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RawNode<'a> {
    pub driver: &'a str,
    pub node_name: &'a str,
    pub read_only: bool,
    /// How many bytes of the other node it shows.
    pub size: u64,
    /// The name of the other node.
    pub file: &'a str,
}

/// Closes a disk's backing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevDel<'a> {
    /// The name of the format's node.
    pub node_name: &'a str,
}
