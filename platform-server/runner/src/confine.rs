//! What the process gives up before it touches the artifact. It is the only thread here, so that what the kernel keeps for
//! each thread holds for all of them later.

use std::os::fd::BorrowedFd;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Gid, Mode, Uid},
    process::{Resource, Rlimit, Signal},
};
use shuttle_abi::{FailedStage::Confine, Launch};

use crate::{
    failure::{Failure, Stage},
    view,
};

/// Goes to the app's files, becomes its user, and gives up what an app does not need.
pub(crate) fn confine(launch: &Launch, control: BorrowedFd<'_>) -> Result<(), Failure> {
    if let Some(files) = &launch.files {
        view::show(files).stage(Confine, &format!("showing the app its files at {}", files.at))?;
    }
    std::env::set_current_dir(&launch.workdir).stage(Confine, &format!("entering {}", launch.workdir))?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // A core file would hold the app's secrets.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).stage(Confine, "limiting core files")?;
    if let Some(uid) = launch.uid {
        become_user(uid)?;
    }
    rustix::thread::set_no_new_privs(true).stage(Confine, "giving up new privileges")?;
    die_with_parent(control)
}

/// Sets the app's environment variables. A name that cannot be one is left out: the server has refused those.
#[allow(unsafe_code)]
pub(crate) fn set_variables(launch: &Launch) {
    for (name, value) in &launch.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            continue;
        }
        // SAFETY: this is the only thread, and nothing of the artifact has been loaded, so that nobody else reads the
        // environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The uid's own group is its only one. Afterwards the process is not dumpable: another process of this uid can neither
/// trace it nor read its memory or environment.
fn become_user(uid: u32) -> Result<(), Failure> {
    if uid == 0 || uid == u32::MAX {
        return Err(Failure::new(Confine, format!("an app does not run as uid {uid}")));
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    rustix::thread::set_thread_groups(&[]).stage(Confine, "giving up groups")?;
    rustix::thread::set_thread_res_gid(group, group, group).stage(Confine, &format!("becoming gid {uid}"))?;
    rustix::thread::set_thread_res_uid(user, user, user).stage(Confine, &format!("becoming uid {uid}"))
}

/// Set after the uid, as a change of that clears it. A server that died before is seen on the control socket.
fn die_with_parent(control: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).stage(Confine, "binding to the server's life")?;
    let mut peer = [PollFd::new(&control, PollFlags::HUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut peer, Some(&now)).stage(Confine, "looking for the server")?;
    if peer[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
        return Err(Failure::new(Confine, "the server is gone"));
    }
    Ok(())
}
