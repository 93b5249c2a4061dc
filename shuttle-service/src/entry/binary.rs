//! The entry of an artifact that is a program: what its `fn main` calls.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::FromRawFd,
    process::ExitCode,
};

use shuttle_abi::{LAUNCH_FD_VARIABLE, STATUS_FAILED};

use super::{Failure, Outcome, Resources, ServiceEntry, run};

/// Runs the service with the launch that the platform's runner left in a descriptor.
///
/// Started by anybody else, it says how it is started. The manifest's record is passed for the linker, which drops a section
/// that nothing refers to.
pub fn main<F, Fut>(service: &ServiceEntry, record: &'static [u8], start: F) -> ExitCode
where
    F: FnOnce(Resources) -> Fut + 'static,
    Fut: Future<Output = Result<Outcome, Failure>> + 'static,
{
    std::hint::black_box(record);
    let Some(launch) = launch() else {
        let note = "this program is an app of the platform: `cargo shuttle deploy` runs it on a server";
        drop(writeln!(std::io::stderr(), "{note}"));
        return ExitCode::from(2);
    };
    #[allow(unsafe_code)]
    // SAFETY: the bytes are a slice's; `launch` has taken the variable away, so there is no second call, and the runner that
    // set it has opened the descriptors for this process.
    let status = unsafe { run(launch.as_ptr(), launch.len(), service, start) };
    // Not by returning: a thread that the app left behind might hold what the ordinary way out waits for.
    std::process::exit(status)
}

#[allow(unsafe_code)]
fn launch() -> Option<Vec<u8>> {
    let fd: i32 = std::env::var(LAUNCH_FD_VARIABLE).ok()?.parse().ok()?;
    // SAFETY: this is the first thing that the program does, on its only thread.
    unsafe { std::env::remove_var(LAUNCH_FD_VARIABLE) };
    let mut launch = Vec::new();
    // SAFETY: the runner opened this descriptor for this purpose; nothing else uses it.
    let read = unsafe { File::from_raw_fd(fd) }.read_to_end(&mut launch);
    match read {
        Ok(_) => Some(launch),
        Err(error) => {
            drop(writeln!(std::io::stderr(), "shuttle-service: the launch cannot be read: {error}"));
            std::process::exit(STATUS_FAILED)
        }
    }
}
