//! An artifact whose header is of another version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
