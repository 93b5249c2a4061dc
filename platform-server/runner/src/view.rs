//! Lets the app see its files at the path that was compiled into it (`env!("CARGO_MANIFEST_DIR")`, `file!()`): a mount that
//! only this process and its children see. All else in the file system stays as it is.

use std::io;

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount},
    thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities},
};
use shuttle_abi::FilesAt;

/// Makes the mount. Where the process is not root this takes a user namespace, in which its own user and group id stay what
/// they are and others' are shown as 65534 (`nobody`); what it may do outside does not change.
pub(crate) fn show(files: &FilesAt) -> io::Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let user = if is_root { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
    // SAFETY: the descriptor table is not unshared, which is what would be unsound; and this process has one thread.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | user)?;
    }
    if !is_root {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    // What is mounted and unmounted on the machine later is so here, and never the other way round.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    mount_bind(&files.from, &files.at)?;
    if is_root {
        mount_remount(&files.at, MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, "")?;
    } else {
        // The namespace gave these for the mount. Read-only it is not: the files are this user's own at their other path.
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    }
    Ok(())
}
