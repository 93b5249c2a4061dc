//! The confining process: from the server's executable, step by step, to the program of a [`Spec`].
//!
//! Two halves. The outer one makes the namespaces and waits; the inner one is their first process, puts the program's
//! view of the machine together ([`super::root`]), gives up what it must not keep, and becomes the program. Where the
//! inner one ends, the kernel ends everything else in its pid namespace, so a build leaves nothing running.
//!
//! Both are single-threaded: they run before any runtime is made.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::fd::AsFd,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Gid, Resource, Rlimit, Signal, Uid, set_parent_process_death_signal, setrlimit},
    thread::{
        CapabilitySet, UnshareFlags, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use shuttle_abi::frame;

use super::{DeathSignal, INNER, Limits, Network, OUTER, Spec, View, relay, root};

/// How gladly the kernel ends what is nice, when memory runs out: from -1000 to 1000.
const EXPENDABLE: &str = "900";

/// Exit status when the sandbox itself failed, as in shells: the program was never run.
const CANNOT_RUN: i32 = 126;

/// What the server's executable does itself once it is confined, in the place of a program: a name, and a function that
/// takes the arguments and returns the exit status.
pub(crate) type Task = (&'static str, fn(&[String]) -> i32);

/// Runs one of the halves when the process was started as one; never returns then.
pub(crate) fn run_if_asked(tasks: &[Task]) {
    let half = match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some(OUTER) => outer,
        Some(INNER) => inner,
        _ => return,
    };
    let code = half(tasks).unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: the sandbox could not be entered: {error}");
        CANNOT_RUN
    });
    std::process::exit(code);
}

fn read_spec() -> io::Result<Spec> {
    // Byte by byte from the descriptor: `io::stdin()` would read ahead, and the rest belongs to nobody.
    let mut stdin = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from)?;
    frame::read(&mut stdin, frame::MAX_FROM_SERVER)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn outer(tasks: &[Task]) -> io::Result<i32> {
    // If the server dies before it has said what to run, reading ends and so does this.
    let spec = read_spec()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let Some(view) = &spec.view else { return become_program(&spec, tasks) };
    unshare(view)?;
    if view.network == Network::Relay {
        relay::hand_over(io::stdin().as_fd()).map_err(|error| io::Error::new(error.kind(), format!("its network: {error}")))?;
    }
    if !view.pids {
        enter_view(view)?;
        return become_program(&spec, tasks);
    }
    if view.user_namespace {
        keep_for_the_inner_half()?;
    }
    let mut child = Command::new(std::env::current_exe()?).arg(INNER).stdin(Stdio::piped()).spawn()?;
    // The pipe stays open for as long as this process lives: its end is how the inner half sees that this one is gone.
    let mut pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    pipe.write_all(&frame::encode(&spec)?)?;
    let status = child.wait()?;
    drop(pipe);
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn inner(tasks: &[Task]) -> io::Result<i32> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let spec = read_spec()?;
    if let Some(view) = &spec.view {
        enter_view(view)?;
    }
    become_program(&spec, tasks)
}

/// In a user namespace, an exec by a uid other than 0 drops all capabilities. The inner half needs one to mount, and another for
/// overlays: the kernel closes the folder in which it prepares changes even to its owner.
fn keep_for_the_inner_half() -> io::Result<()> {
    let kept = [CapabilitySet::SYS_ADMIN, CapabilitySet::DAC_OVERRIDE];
    let mut sets = capabilities(None)?;
    sets.inheritable |= kept[0] | kept[1];
    set_capabilities(None, sets)?;
    Ok(kept.into_iter().try_for_each(|capability| configure_capability_in_ambient_set(capability, true))?)
}

fn enter_view(view: &View) -> io::Result<()> {
    root::enter(view).map_err(|error| io::Error::new(error.kind(), format!("its file system: {error}")))
}

fn unshare(view: &View) -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWUTS;
    if view.ipc {
        flags |= UnshareFlags::NEWIPC;
    }
    if view.pids {
        flags |= UnshareFlags::NEWPID;
    }
    if view.network != Network::Machine {
        flags |= UnshareFlags::NEWNET;
    }
    if view.user_namespace {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: the descriptor table is not unshared, which is what would be unsound; and this process has one thread.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(flags)?;
    }
    if view.user_namespace {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    Ok(())
}

/// Gives up what the program must not have, and execs it: then it returns only what went wrong. A task is done here, and
/// its status returned.
fn become_program(spec: &Spec, tasks: &[Task]) -> io::Result<i32> {
    let confine = || -> io::Result<()> {
        apply(&spec.limits)?;
        if spec.nice != 0 {
            rustix::process::nice(spec.nice)?;
            // Where memory runs out, a compiler goes before a database or an app. Where that cannot be said, it is as it is.
            let _ = std::fs::write("/proc/self/oom_score_adj", EXPENDABLE);
        }
        std::env::set_current_dir(&spec.cwd)?;
        if let Some(uid) = spec.uid {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
        }
        // What the inner half was left for mounting is not for the program.
        clear_ambient_capability_set()?;
        set_no_new_privs(true)?;
        // The change of uid cleared it.
        set_parent_process_death_signal(Some(match spec.death_signal {
            DeathSignal::Kill => Signal::KILL,
            DeathSignal::Int => Signal::INT,
        }))?;
        parent_is_alive()?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Ok(())
    };
    confine()?;
    if let Some((_, task)) = tasks.iter().find(|(name, _)| spec.program.as_os_str() == *name) {
        return Ok(task(&spec.args));
    }
    let error = Command::new(&spec.program).args(&spec.args).env_clear().envs(spec.env.iter().map(|(k, v)| (k, v))).exec();
    Err(io::Error::new(error.kind(), format!("{}: {error}", spec.program.display())))
}

/// The parent may have died between two settings of the death signal; then the other end of stdin is closed.
fn parent_is_alive() -> io::Result<()> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if fds[0].revents().contains(PollFlags::HUP) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

fn apply(limits: &Limits) -> io::Result<()> {
    let set = |resource, limit: Option<u64>| match limit {
        Some(limit) => {
            let hard = rustix::process::getrlimit(resource).maximum;
            let limit = hard.map_or(limit, |hard| hard.min(limit));
            setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
        }
        None => Ok(()),
    };
    set(Resource::Core, Some(0))?;
    set(Resource::As, limits.memory)?;
    set(Resource::Nproc, limits.processes)?;
    set(Resource::Fsize, limits.file_size)?;
    set(Resource::Nofile, limits.open_files)?;
    if let Some(seconds) = limits.cpu {
        // At the first of the two comes a signal that says why, at the second the end.
        setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })?;
    }
    Ok(())
}
