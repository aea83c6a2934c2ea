//! The commands this crate gives, with the timeout of each
//! (<https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>). Fields have QEMU's names.

/// Declares commands by their names and the types of their answers.
macro_rules! commands {
    ($($type:ident $(<$life:lifetime>)? = $name:literal -> $reply:ty;)*) => {$(
        impl $(<$life>)? super::Command for $type $(<$life>)? {
            const NAME: &'static str = $name;
            type Reply = $reply;
        }
    )*};
}

mod binary;
mod block;
mod cpu_memory;
mod device;
mod migration;
mod vm;

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use binary::*;
pub use block::*;
pub use cpu_memory::*;
pub use device::*;
pub use migration::*;
pub use vm::*;

/// A command: its arguments are the value's own fields.
pub trait Command: Serialize + Sync {
    /// The name by which QEMU knows it.
    const NAME: &'static str;
    /// How long QEMU may take to answer.
    const TIMEOUT: Duration = Duration::from_secs(10);
    /// The value of its answer.
    type Reply: DeserializeOwned;
}

/// An answer without content.
#[derive(Debug, Deserialize)]
pub struct Empty {}
