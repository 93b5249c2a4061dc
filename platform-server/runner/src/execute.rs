//! Becoming the artifact, where that is a program: the same launch, but the app's code begins in a process image of its own.

use std::{
    io::{Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{FdFlags, fcntl_setfd},
};
use shuttle_abi::{FailedStage::Load, LAUNCH_FD_VARIABLE};

use crate::failure::{Failure, Stage};

/// Executes the artifact with the launch in a descriptor; returns only if that was not possible.
///
/// The artifact is found through its descriptor, so that the folders on the way to it do not matter.
pub(crate) fn execute(artifact: &OwnedFd, name: &str, launch: &[u8], keep: [RawFd; 3]) -> Failure {
    let prepared = || {
        let mut file = std::fs::File::from(memfd_create("launch", MemfdFlags::CLOEXEC).stage(Load, "the launch")?);
        file.write_all(launch).and_then(|()| file.rewind()).stage(Load, "the launch")?;
        inherit(file.as_fd())?;
        for fd in keep {
            inherit(borrow(fd))?;
        }
        Ok(file)
    };
    let launch = match prepared() {
        Ok(launch) => launch,
        Err(failure) => return failure,
    };
    let path = format!("/proc/self/fd/{}", artifact.as_raw_fd());
    let error = Command::new(path).arg0(name).env(LAUNCH_FD_VARIABLE, launch.as_raw_fd().to_string()).exec();
    Failure::new(Load, format!("the artifact cannot be executed: {error}"))
}

/// Keeps a descriptor open in the program.
fn inherit(fd: BorrowedFd<'_>) -> Result<(), Failure> {
    fcntl_setfd(fd, FdFlags::empty()).stage(Load, "passing on a descriptor")
}

#[allow(unsafe_code)]
fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the caller's descriptors were taken out of their owners for the app, and nothing closes them.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
