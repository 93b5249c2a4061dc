//! The migrations are compiled in, so a new one has to rebuild the app.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
