//! Generates the messages of the Container Runtime Interface, without a system protoc.

fn main() {
    println!("cargo::rerun-if-changed=src/cri/api.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("src/cri")
        .input("src/cri/api.proto")
        .cargo_out_dir("cri")
        .run_from_script();
}
