//! Generates the wire types and the ttrpc stubs from `protos/`, without a system protoc.

use std::{env, error::Error, fs, path::PathBuf};

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

const PROTOS: [&str; 5] = ["agent", "csi", "health", "oci", "types"];

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
    fs::write(out.join("protocol.rs"), module_tree())?;
    Ok(())
}

/// The generated files carry inner attributes, which `include!` refuses, so they become modules
/// of one included file.
fn module_tree() -> String {
    let mut tree = String::new();
    for name in PROTOS {
        tree.push_str(&format!("pub mod {name};\n"));
    }
    for service in ["agent_ttrpc", "health_ttrpc"] {
        tree.push_str(&format!("pub mod {service};\n"));
    }
    tree
}
