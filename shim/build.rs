//! Generates the messages of `protos/`, without a system protoc.

fn main() {
    println!("cargo::rerun-if-changed=protos/pod.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("protos")
        .input("protos/pod.proto")
        .cargo_out_dir("pod")
        .run_from_script();
}
