//! The entry of an artifact: what the macro's expansion calls, from the exported symbol to the end of the service.
//!
//! It makes the runtime, the resources, calls the annotated function and serves its result. Whatever goes wrong on the way
//! is told to the server and becomes a status; nothing ever unwinds out of it.

mod binary;
mod expansion;
mod message;

use std::{
    io::Write,
    os::fd::{FromRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use shuttle_abi::{AppLaunch, FailedStage, STATUS_FAILED, STATUS_OK, STATUS_PANICKED};

pub use self::binary::main;
use self::expansion::LocalFuture;
pub use self::expansion::{Args, Export, Outcome, Param, ServiceEntry, param, service};
use crate::{
    Error, Serving,
    control::{self, Reporter, Shutdown},
    output::Output,
    panics,
    resource::Given,
};

/// How long tasks and threads that an app has left running are waited for.
const LEFTOVERS: Duration = Duration::from_millis(100);
/// How long an app that handles SIGTERM itself has for that, after its service has ended.
const HANDLERS: Duration = Duration::from_secs(5);

/// Why the app does not serve; the stage it happened in is the reporter's.
#[derive(Debug)]
pub struct Failure(String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.chain())
    }
}

/// What the platform gave for the parameters, and what the annotated function is called within.
#[derive(Debug)]
pub struct Resources {
    given: Given,
    reporter: Arc<Reporter>,
    output: Output,
}

impl Resources {
    /// Runs the annotated function's future.
    pub async fn call<T: 'static>(&self, function: impl Future<Output = T> + 'static) -> Outcome {
        self.reporter.enter(FailedStage::Start);
        self.output.within(Box::pin(async { Outcome::new(function.await) })).await
    }
}

/// Runs the service until it is told to stop; gives one of the ABI's statuses.
///
/// # Safety
/// As the ABI says of a [`RunFn`](shuttle_abi::RunFn): `len` bytes at `launch` are valid for the call, and it is the only call in the process, so
/// that the descriptors named there belong to it.
#[allow(unsafe_code)]
pub unsafe fn run<F, Fut>(launch: *const u8, len: usize, service: &ServiceEntry, start: F) -> i32
where
    F: FnOnce(Resources) -> Fut + 'static,
    Fut: Future<Output = Result<Outcome, Failure>> + 'static,
{
    // SAFETY: the caller's promise.
    unsafe { run_boxed(launch, len, service, Box::new(|resources| Box::pin(start(resources)))) }
}

/// The macro's closure, its type put aside. What is generic is compiled again with every change of the app; this way that
/// is no more than the app's own code.
type Start = Box<dyn FnOnce(Resources) -> LocalFuture<Result<Outcome, Failure>>>;

/// # Safety
/// As for [`run`].
#[allow(unsafe_code)]
unsafe fn run_boxed(launch: *const u8, len: usize, service: &ServiceEntry, start: Start) -> i32 {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        let launch = unsafe { std::slice::from_raw_parts(launch, len) };
        let status = match App::open(launch) {
            Ok(app) => app.run(service, start),
            Err(error) => {
                // There is no control socket to say it on.
                drop(writeln!(std::io::stderr(), "shuttle-service: the launch is not usable: {error}"));
                STATUS_FAILED
            }
        };
        drop(std::io::stdout().flush());
        status
    }))
    .unwrap_or(STATUS_PANICKED)
}

/// An app with all that its launch gave it.
struct App {
    given: Given,
    listener: OwnedFd,
    reporter: Arc<Reporter>,
    shutdown: Shutdown,
    output: Output,
}

impl App {
    #[allow(unsafe_code)]
    fn open(launch: &[u8]) -> Result<Self, Error> {
        let launch: AppLaunch = serde_json::from_slice(launch)?;
        // SAFETY: these descriptors were opened for this app, and nothing else in the process uses them.
        let [control, listener, log] =
            [launch.control_fd, launch.listener_fd, launch.log_fd].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let (reporter, shutdown) = control::open(control)?;
        let reporter = Arc::new(reporter);
        panics::remember(Arc::clone(&reporter));
        let given = Given {
            project: launch.project,
            deployment: launch.deployment,
            url: launch.url,
            environment: launch.environment,
            resources: launch.resources,
        };
        Ok(Self { given, listener, reporter, shutdown, output: Output::new(log) })
    }

    fn run(self, service: &ServiceEntry, start: Start) -> i32 {
        let reporter = Arc::clone(&self.reporter);
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("app").build() {
            Ok(runtime) => runtime,
            Err(error) => {
                reporter.failed(&format!("the tokio runtime could not be started: {error}"));
                return STATUS_FAILED;
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.drive(service, start))));
        let status = match ended {
            Ok(Ok(())) => STATUS_OK,
            Ok(Err(Failure(message))) => {
                reporter.failed(&message);
                STATUS_FAILED
            }
            Err(payload) => {
                reporter.failed(&panics::describe(&*payload));
                // Dropping a payload may panic in turn.
                std::mem::forget(payload);
                STATUS_PANICKED
            }
        };
        // What the app left running gets to its next `await`; the process ends with this call.
        runtime.shutdown_timeout(LEFTOVERS);
        status
    }

    async fn drive(mut self, service: &ServiceEntry, start: Start) -> Result<(), Failure> {
        let resources = Resources { given: self.given, reporter: Arc::clone(&self.reporter), output: self.output.clone() };
        let outcome = tokio::select! {
            biased;
            // Nothing is in flight yet.
            _ = self.shutdown.requested() => return Ok(()),
            outcome = start(resources) => outcome?,
        };
        let made = service.adopt(outcome)?;
        self.output.install();
        self.reporter.enter(FailedStage::Serve);

        let serving = Serving::new(self.listener, self.reporter, self.shutdown.clone());
        let mut told = self.shutdown.clone();
        let mut deadline = std::pin::pin!(async { tokio::time::sleep(told.requested().await).await });
        tokio::select! {
            served = made.serve(serving) => served?,
            () = &mut deadline => return Ok(()),
        }
        if !self.shutdown.is_requested() {
            return Err(Failure("the service ended without having been told to stop".to_owned()));
        }
        // The server sends such an app the signal as well. What its handlers do then is theirs, and they may end the process.
        if handles_sigterm() {
            drop(tokio::time::timeout(HANDLERS, deadline).await);
        }
        Ok(())
    }
}

/// Whether the app does.
fn handles_sigterm() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| shuttle_abi::handles_sigterm(&status))
}
