//! Sets `fuzzing` for every build, as cargo-fuzz does for its own: the shared model derives
//! `Arbitrary` where it is set.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    println!("cargo::rustc-cfg=fuzzing");
    println!("cargo::rerun-if-changed=build.rs");
}
