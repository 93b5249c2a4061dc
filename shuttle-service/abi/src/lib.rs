//! What crosses the boundary between an app's artifact and the platform.
//!
//! Three parties meet here, each built on its own and possibly at different times: the SDK inside the artifact
//! (`shuttle-service`), the process that loads it (`platform-runner`), and the server that starts that process
//! (`platform-server`). This package owns
//!
//! - the exported symbol and its [`Header`] (artifact → runner),
//! - the [`manifest`] in the ELF section [`MANIFEST_SECTION`] (artifact → server, read without running anything),
//! - the messages on the control socket: [`Launch`], [`ServerMessage`], [`RunnerMessage`] (server ↔ runner ↔ SDK),
//! - the [`LogRecord`]s on the log pipe (SDK → server).
//!
//! Only integers, pointers with lengths and file descriptors cross it: no trait object, no future, no runtime handle.
//! It never does I/O of its own beyond [`frame`]'s read and write, knows nothing of HTTP, and depends on serde alone.

pub mod frame;
pub mod header;
pub mod launch;
pub mod log;
pub mod manifest;

pub use header::{ABI_VERSION, Header, MAGIC, RunFn, STATUS_FAILED, STATUS_OK, STATUS_PANICKED, symbol_name};
pub use launch::{
    AppLaunch, CONTROL_FD, FD_ARTIFACT, FD_LISTENER, FD_LOG, FailedStage, FilesAt, LAUNCH_FD_VARIABLE, LAUNCH_FDS, Launch,
    ResourceData, RunnerMessage, ServerMessage, handles_sigterm,
};
pub use log::{Level, LogRecord};
pub use manifest::{
    Kind, Listen, MANIFEST_SECTION, MANIFEST_VERSION, Manifest, ManifestError, RECORD_MAGIC, ResourceManifest, ServiceManifest,
    Settings,
};
