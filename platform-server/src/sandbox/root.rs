//! The root folder that a sandboxed program sees: put together on a tmpfs, then made `/`.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::StatVfsMountFlags,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_remount, unmount},
    process::pivot_root,
};

use super::{Layers, View};

/// Folders of the system that hold programs and libraries, none of them anybody's data.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];
/// What programs need of `/etc`: name resolution, certificates, the dynamic loader, alternatives.
const ETC: [&str; 11] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl",
];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Makes the view and moves into it.
pub(super) fn enter(view: &View) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let root = view.scratch.as_path();
    tmpfs(root, "mode=755,size=64m")?;
    for path in SYSTEM.iter().chain(&ETC) {
        system(root, Path::new(path))?;
    }
    let etc = root.join("etc");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("passwd"), &view.passwd)?;
    devices(root)?;
    proc(root)?;
    for (folder, options) in
        [("tmp", "mode=1777,size=50%"), ("dev/shm", "mode=1777,size=50%"), ("build/home", "mode=1777,size=1g")]
    {
        let path = root.join(folder);
        fs::create_dir_all(&path)?;
        tmpfs(&path, options)?;
    }
    for mount in &view.mounts {
        let to = inside(root, &mount.to);
        match &mount.upon {
            Some(layers) => overlay(&mount.from, layers, &to, view.user_namespace)?,
            None => bind(&mount.from, &to, mount.write)?,
        }
    }
    // Everything has its place; nothing else gets one.
    mount_remount(root, MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, "")?;
    pivot_root(root, root)?;
    // The old root was stacked on the new one by the call above.
    unmount("/", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

fn tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A folder or file of the system, read-only, or the link it is; what is not there is left out.
fn system(root: &Path, path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let to = inside(root, path);
    if !metadata.is_symlink() {
        return bind(path, &to, false);
    }
    let target = fs::read_link(path)?;
    // `/bin -> usr/bin` stays a link; `/etc/resolv.conf -> /run/…` leads to where nothing is, so its target is shown.
    if SYSTEM.contains(&path.to_str().unwrap_or_default()) {
        return symlink(target, to);
    }
    match fs::canonicalize(path) {
        Ok(real) => bind(&real, &to, false),
        Err(_) => Ok(()),
    }
}

fn bind(from: &Path, to: &Path, write: bool) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent)?;
    if fs::metadata(from).map_err(named)?.is_dir() {
        fs::create_dir_all(to)?;
    } else if !to.exists() {
        fs::write(to, "")?;
    }
    mount_bind_recursive(from, to).map_err(|error| named(error.into()))?;
    if write {
        return Ok(());
    }
    // Inside a user namespace, flags that the mount already has may not be dropped by the remount.
    let kept = rustix::fs::statvfs(to)?.f_flag;
    let mut flags = MountFlags::empty();
    // The two sets of flags have the same names and not the same numbers.
    for (had, keep) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if kept.contains(had) {
            flags |= keep;
        }
    }
    mount_remount(to, flags | MountFlags::BIND | MountFlags::RDONLY, "").map_err(|error| named(error.into()))
}

/// A folder that is seen upon others.
fn overlay(upper: &Path, layers: &Layers, to: &Path, user_namespace: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let lower: Vec<Vec<u8>> = layers.lower.iter().map(|path| escaped(path)).collect();
    let mut options = [b"lowerdir=", lower.join(&b':').as_slice()].concat();
    for (name, path) in [("upperdir", upper), ("workdir", &layers.work)] {
        options.extend([b",", name.as_bytes(), b"=", &escaped(path)].concat());
    }
    if user_namespace {
        // The other attributes are for root alone.
        options.extend(b",userxattr");
    }
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("overlay", to, "overlay", flags, options.as_c_str())
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{} upon others: {error}", upper.display())))
}

/// A path in the options of an overlay.
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if b"\\:,".contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

fn devices(root: &Path) -> io::Result<()> {
    let dev = root.join("dev");
    fs::create_dir_all(&dev)?;
    for name in DEVICES {
        bind(&Path::new("/dev").join(name), &dev.join(name), true)?;
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
    {
        symlink(target, dev.join(name))?;
    }
    fs::set_permissions(&dev, fs::Permissions::from_mode(0o755))
}

/// A procfs of the new pid namespace. Inside containers that cover parts of `/proc`, the kernel refuses it; then there
/// is only what every program needs of it: itself.
fn proc(root: &Path) -> io::Result<()> {
    let at = root.join("proc");
    fs::create_dir_all(&at)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("proc", &at, "proc", flags, None) {
        Ok(()) => Ok(()),
        Err(_) => bind(Path::new("/proc"), &at, true),
    }
}
