//! Generates the messages of `protos/`, without a system protoc.

const PROTOS: [&str; 2] = ["pod", "runtimeoptions"];

fn main() {
    for name in PROTOS {
        let input = format!("protos/{name}.proto");
        println!("cargo::rerun-if-changed={input}");
        protobuf_codegen::Codegen::new()
            .pure()
            .include("protos")
            .input(input)
            .cargo_out_dir(name)
            .run_from_script();
    }
}
