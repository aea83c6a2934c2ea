//! Generates the wire types and the ttrpc stubs from `protos/`, without a system protoc.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

const PROTOS: [&str; 5] = ["agent", "csi", "health", "oci", "types"];
const SERVICES: [&str; 2] = ["agent_ttrpc", "health_ttrpc"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let inputs: Vec<String> = PROTOS
        .iter()
        .map(|name| format!("protos/{name}.proto"))
        .collect();
    for input in &inputs {
        println!("cargo::rerun-if-changed={input}");
    }
    Codegen::new()
        .out_dir(&out)
        .inputs(&inputs)
        .include("protos")
        .rust_protobuf()
        .customize(Customize {
            async_all: true,
            ..Default::default()
        })
        .rust_protobuf_customize(ProtobufCustomize::default())
        .run()?;
    for service in SERVICES {
        forbid_unsafe(&out.join(service).with_extension("rs"))?;
    }
    fs::write(out.join("protocol.rs"), module_tree())?;
    Ok(())
}

/// The generator allows `unsafe` and writes none. The crate forbids it, which takes no exception.
fn forbid_unsafe(generated: &Path) -> io::Result<()> {
    let code = fs::read_to_string(generated)?;
    fs::write(generated, code.replace("#![allow(unsafe_code)]\n", ""))
}

/// The generated files carry inner attributes, which `include!` refuses, so they become modules
/// of one included file.
fn module_tree() -> String {
    let mut tree = String::new();
    for name in PROTOS {
        tree.push_str(&format!("pub mod {name};\n"));
    }
    for service in SERVICES {
        tree.push_str(&format!("pub mod {service};\n"));
    }
    tree
}
