//! Sets `cfg(fuzzing)` for every build, as cargo-fuzz does for its own builds. The shared model
//! derives `Arbitrary` only where it is set.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    println!("cargo::rustc-cfg=fuzzing");
    println!("cargo::rerun-if-changed=build.rs");
}
