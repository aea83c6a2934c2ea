//! The playground that stays: put up by one command, taken down by another.

use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    containerd::{Containerd, Release},
    ctr::{Ctr, NAMESPACE},
    installation::Artefacts,
    node::{Node, layout},
    playground::Playground,
    proc::Process,
    sweep,
    wait::shield,
};

/// Where the playground is. Short: sockets live below it.
const DIRECTORY: &str = "/run/imprint-up";

/// What a person needs in a shell to use the playground.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exports {
    address: PathBuf,
    config: PathBuf,
    binaries: PathBuf,
}

impl std::fmt::Display for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "export CONTAINERD_ADDRESS={}", quoted(&self.address))?;
        writeln!(f, "export IMPRINT_CONFIG={}", quoted(&self.config))?;
        write!(f, "export PATH={}:\"$PATH\"", quoted(&self.binaries))
    }
}

/// A word that a POSIX shell takes as it is.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Puts the playground up, unless it is up already.
pub fn up() -> Result<Exports> {
    let artefacts = Artefacts::find()?;
    let directory = Path::new(DIRECTORY);
    let layout = layout(directory, &artefacts);
    let exports = Exports {
        address: layout.socket(),
        config: layout.imprint_config.clone(),
        binaries: artefacts.binaries.clone(),
    };
    if Containerd::running(layout).is_some() {
        eprintln!("The playground is up already");
        return Ok(exports);
    }
    if Playground::existing(directory).is_some() {
        down()?;
    }
    let node = Node::start(Playground::named(directory)?, artefacts)?;
    let mut settings = node.settings();
    settings.enable_template = true;
    node.configure(&settings)?;
    // The CRI plugin looks for images in a namespace of its own.
    Ctr::new(node.containerd().layout().clone(), "k8s.io").import(&node.archive()?)?;
    node.keep();
    Ok(exports)
}

/// Takes the playground away, if there is one, however it was left.
pub fn down() -> Result<()> {
    let _shield = shield();
    let directory = Path::new(DIRECTORY);
    let Some(playground) = Playground::existing(directory) else {
        eprintln!("The playground is down already");
        return Ok(());
    };
    // Binaries are not needed to take down what is there: they may have been removed since.
    let layout = crate::containerd::Layout {
        directory: directory.to_owned(),
        release: Release::chosen()?,
        binaries: PathBuf::new(),
        imprint_config: directory.join("configuration.toml"),
    };
    let mut ids = Vec::new();
    if let Some(containerd) = Containerd::running(layout.clone()) {
        let ctr = Ctr::new(layout.clone(), NAMESPACE);
        ids = ctr.containers().unwrap_or_default();
        if let Err(error) = sweep::stop(&containerd, &ctr) {
            eprintln!("While stopping containerd: {}", error.chain());
        }
    }
    sweep::sweep(&playground, &layout, &ids)?;
    if let Some(process) = Process::all().into_iter().find(|p| p.belongs_to(directory)) {
        return Err(Error::Unexpected(format!("{} still runs", process.command)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Exports;
    use crate::program::Program;

    #[test]
    fn a_shell_takes_the_exports_as_they_are_meant() {
        let exports = Exports {
            address: "/run/it's/containerd.sock".into(),
            config: "/etc/$HOME".into(),
            binaries: "/opt/imprint".into(),
        };
        let script = format!(
            "{exports}\nprintf '%s|%s|%s' \"$CONTAINERD_ADDRESS\" \"$IMPRINT_CONFIG\" \
                \"${{PATH%%:*}}\""
        );
        let seen = Program::new("sh").args(["-c", &script]).succeed().unwrap();
        assert_eq!(seen, "/run/it's/containerd.sock|/etc/$HOME|/opt/imprint");
    }
}
