//! Finds the configuration files and reads them, bounded.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use system::file;

use super::{
    error::ConfigError,
    tree::{self, Table},
};

/// Paths of the configuration if none is named; the first that exists is read.
pub const DEFAULT_FILES: [&str; 2] = [
    "/etc/imprint/configuration.toml",
    "/usr/share/defaults/imprint/configuration.toml",
];
/// Environment variable with the path of the configuration.
pub const ENVIRONMENT: &str = "IMPRINT_CONFIG";
/// Longest file, in bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// The most drop-ins that are read.
const MAX_DROP_INS: usize = 256;

/// The content of all files as one table.
pub struct Merged {
    pub table: Table,
    /// The main file and the drop-ins; later ones override earlier ones.
    pub files: Vec<PathBuf>,
}

/// Reads the file that is named, else the one the environment names, else the first of `defaults`
/// that exists; then the drop-ins beside it.
pub fn read(
    explicit: Option<&Path>,
    environment: Option<OsString>,
    defaults: &[&Path],
) -> Result<Merged, ConfigError> {
    let environment = environment.filter(|name| !name.is_empty());
    let named = explicit
        .map(Path::to_path_buf)
        .or(environment.map(PathBuf::from));
    let main = match named {
        Some(named) => resolve(&named)?,
        None => first_of(defaults)?,
    };
    let mut files = vec![main];
    files.extend(drop_ins(&files[0])?);

    let mut table = Table::new();
    for file in &files {
        let text = read_file(file)?;
        tree::merge(&mut table, tree::parse(&Arc::new(file.clone()), &text)?);
    }
    Ok(Merged { table, files })
}

fn first_of(defaults: &[&Path]) -> Result<PathBuf, ConfigError> {
    for path in defaults {
        match resolve(path) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
    }
    Err(ConfigError::NotFound {
        searched: defaults.iter().map(|path| path.to_path_buf()).collect(),
    })
}

fn resolve(path: &Path) -> Result<PathBuf, ConfigError> {
    fs::canonicalize(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })
}

/// `config.d/*.toml` beside the resolved main file, in lexical order.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = main.with_file_name("config.d");
    let failed = |source| ConfigError::Read {
        path: dir.clone(),
        source,
    };
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
        if files.len() > MAX_DROP_INS {
            return Err(ConfigError::TooLarge {
                path: dir,
                what: format!("more than {MAX_DROP_INS} drop-ins"),
            });
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file without blocking: a fifo in its place cannot delay a start.
fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    };
    let bytes = match file::read_linked(path, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(ConfigError::TooLarge {
                path: path.to_path_buf(),
                what: error.to_string(),
            });
        }
        read => read.map_err(failed)?,
    };
    String::from_utf8(bytes).map_err(|error| failed(io::Error::other(error.utf8_error())))
}
