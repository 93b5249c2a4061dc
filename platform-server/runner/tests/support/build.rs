//! The artifacts that the tests load: a real app, built as the platform builds one, and a header of another version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The fixture app's artifact.
pub(crate) fn app() -> &'static Path {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    APP.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixture-app");
        let target = folder.join("target");
        copy_sources(&folder);
        let status = Command::new(env!("CARGO"))
            .args(["rustc", "--quiet", "--lib", "--crate-type", "cdylib", "--target-dir"])
            .arg(&target)
            .current_dir(&folder)
            .status()
            .unwrap();
        assert!(status.success(), "the fixture app does not build");
        target.join("debug/libfixture_app.so")
    })
}

/// With the workspace's lockfile there is nothing to look for in a registry: what it names has been downloaded.
fn copy_sources(folder: &Path) {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = runner.ancestors().nth(2).unwrap();
    let fixture = runner.join("tests/fixtures/app");
    let manifest = fs::read_to_string(fixture.join("Cargo.toml")).unwrap();
    let sdk = root.join("shuttle-service");
    write(&folder.join("Cargo.toml"), &manifest.replace("@SDK@", sdk.to_str().unwrap()));
    write(&folder.join("src/lib.rs"), &fs::read_to_string(fixture.join("src/lib.rs")).unwrap());
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// Leaves a file alone that is right, so that cargo finds nothing to do.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// An artifact of the crate `foreign`, whose header begins with these bytes and this version.
pub(crate) fn with_header(folder: &Path, magic: &[u8; 8], version: u32) -> PathBuf {
    let source = format!(
        r#"#[repr(C)]
        pub struct Header {{ magic: [u8; 8], abi_version: u32, size: u32, rest: [usize; 3] }}
        #[unsafe(no_mangle)]
        pub static __shuttle_service_entry_foreign: Header =
            Header {{ magic: {magic:?}, abi_version: {version}, size: 40, rest: [0; 3] }};"#
    );
    let (from, to) = (folder.join("foreign.rs"), folder.join("libforeign.so"));
    fs::write(&from, source).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=cdylib", "-Anon_upper_case_globals", "-o"])
        .args([&to, &from])
        .status()
        .unwrap();
    assert!(status.success());
    to
}
