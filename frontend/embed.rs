//! Cargo's build script: the page is embedded again when it was built again, also the first time, when no file of it was
//! known to the compiler.
fn main() {
    println!("cargo:rerun-if-changed=frontend/dist/build.txt");
}
