//! Loading the artifact and calling its entry: all that the runner does with an app's code, and all of its `unsafe`.

use std::os::fd::{AsRawFd, OwnedFd};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use shuttle_abi::{ABI_VERSION, FailedStage, Header, MAGIC, RunFn, symbol_name};

use crate::failure::{Failure, Stage};

/// Loads the artifact and checks that its entry speaks our ABI. From the first line on, code of the app's may run.
///
/// The artifact is opened again through its descriptor, by the user that the process has become: its file has to be
/// readable for that one, while the folders on the way to it do not matter.
#[allow(unsafe_code)]
pub(crate) fn load(artifact: OwnedFd, crate_name: &str) -> Result<RunFn, Failure> {
    let path = format!("/proc/self/fd/{}", artifact.as_raw_fd());
    // SAFETY: an artifact's constructors are the app's code, which this process exists for and is confined for.
    let library =
        unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.stage(FailedStage::Load, "the artifact cannot be loaded")?;
    let symbol = symbol_name(crate_name);
    // SAFETY: the symbol's type is checked through the header's magic below.
    let header = unsafe { library.get::<*const Header>(symbol.as_bytes()) }.map(|header| *header).map_err(|_| {
        Failure::new(
            FailedStage::Load,
            format!("the artifact has no entry `{symbol}`: is a function of the crate `{crate_name}` annotated with `#[shuttle_service::main]`?"),
        )
    })?;
    // Never closed: a Rust library with thread-locals cannot be unloaded.
    std::mem::forget(library);
    check(header)
}

/// Reads no more of the header than is the same in every version, until its version is known.
#[allow(unsafe_code)]
fn check(header: *const Header) -> Result<RunFn, Failure> {
    let foreign = || Failure::new(FailedStage::Abi, "the artifact's entry was not made by shuttle-service");
    if header.is_null() || !header.is_aligned() {
        return Err(foreign());
    }
    // SAFETY: a symbol of this name points at a header; whatever else it is, eight bytes of a loaded object are read.
    if unsafe { (*header).magic } != MAGIC {
        return Err(foreign());
    }
    // SAFETY: the magic says that it is a header, and this field stands in the same place in every version.
    let version = unsafe { (*header).abi_version };
    if version != ABI_VERSION {
        let advice = if version > ABI_VERSION { "update the platform" } else { "update shuttle-service in the app's Cargo.toml" };
        return Err(Failure::new(
            FailedStage::Abi,
            format!("the app's shuttle-service speaks ABI version {version}, this platform {ABI_VERSION}: {advice}"),
        ));
    }
    // SAFETY: a header of our version.
    Ok(unsafe { (*header).run })
}

/// Calls the entry; gives its status.
#[allow(unsafe_code)]
pub(crate) fn run(entry: RunFn, launch: &[u8]) -> i32 {
    // SAFETY: the entry of a checked header, with the bytes it is to be given; this is its only call.
    unsafe { entry(launch.as_ptr(), launch.len()) }
}
