//! Turns the protocol files into Rust; protox needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["csi.proto", "pluginregistration.proto"], ["proto"])?;
    // The kubelet's side is built, too: the tests speak it.
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
