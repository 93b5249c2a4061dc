//! The pieces that the macro's expansion is put together from.
//!
//! Each trait bound on a user's type stands in one place only, so that a wrong type is one error on that type.

use std::{any::Any, fmt, pin::Pin};

use shuttle_abi::{Header, RunFn};

use super::{Failure, Resources};
use crate::{
    Error, Resource, ResourceData, Service, Serving, VERSION,
    manifest::{ParamInfo, ServiceInfo},
};

/// A future of one thread, its type put aside.
pub(super) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A parameter of the annotated function.
pub struct Param<T> {
    pub info: ParamInfo,
    make: fn(ResourceData) -> LocalFuture<Result<T, Error>>,
}

/// The parameter `name` of type `T`.
#[must_use]
pub const fn param<T: Resource>(name: &'static str) -> Param<T> {
    Param { info: ParamInfo { name, kind: T::TYPE }, make: |data| Box::pin(T::from_data(data)) }
}

impl<T> Param<T> {
    /// Makes the resource from what the platform gave for it.
    ///
    /// # Errors
    /// When it gave nothing that fits, or the resource cannot be made from it.
    pub async fn make(&self, from: &Resources) -> Result<T, Failure> {
        let data = from.get(self.info.name, self.info.kind)?;
        (self.make)(data).await.map_err(|error| Failure(format!("parameter `{}`: {}", self.info.name, error.chain())))
    }
}

impl<T> fmt::Debug for Param<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

/// Stands for the arguments in a call that is only typed, never made.
#[derive(Debug)]
pub struct Args(());

impl Args {
    /// A value of any type.
    #[must_use]
    pub fn any<T>(&self) -> T {
        unreachable!("this call is only typed")
    }
}

/// What the annotated function's future gives: a service, or why there is none.
#[diagnostic::on_unimplemented(
    message = "an annotated function returns a `Result` with a service in it, not `{Self}`",
    label = "not a `Result`",
    note = "for example `Result<axum::Router, shuttle_service::Error>`, which is `shuttle_service::ShuttleAxum`"
)]
pub trait Returned: 'static {
    type Service: Service;

    fn into_service(self) -> Result<Self::Service, Error>;
}

impl<S: Service, E: Into<Error> + 'static> Returned for Result<S, E> {
    type Service = S;

    fn into_service(self) -> Result<S, Error> {
        self.map_err(Into::into)
    }
}

/// What an annotated function gave, its type put aside: it is often one that cannot be named.
pub struct Outcome(Box<dyn Any>);

impl Outcome {
    pub(super) fn new<T: 'static>(returned: T) -> Self {
        Self(Box::new(returned))
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outcome")
    }
}

/// A service, its type put aside.
pub(super) struct Made(Box<dyn FnOnce(Serving) -> LocalFuture<Result<(), Error>>>);

impl Made {
    pub(super) async fn serve(self, serving: Serving) -> Result<(), Error> {
        (self.0)(serving).await
    }
}

/// What is known at compile time of the service that the annotated function returns.
#[derive(Debug)]
pub struct ServiceEntry {
    pub info: ServiceInfo,
    adopt: fn(Outcome) -> Result<Made, Error>,
}

/// Learns the service from the type of a call of the annotated function, which need not be nameable.
#[must_use]
pub const fn service<F, Fut>(_: &F) -> ServiceEntry
where
    F: Fn(Args) -> Fut,
    Fut: Future,
    Fut::Output: Returned,
{
    ServiceEntry { info: info::<<Fut::Output as Returned>::Service>(), adopt: adopt::<Fut::Output> }
}

const fn info<S: Service>() -> ServiceInfo {
    ServiceInfo { framework: S::FRAMEWORK, kind: S::KIND, listen: S::LISTEN }
}

fn adopt<R: Returned>(outcome: Outcome) -> Result<Made, Error> {
    let returned = outcome.0.downcast::<R>().map_err(|_| Error::msg("the function returned another type than it declared"))?;
    let service = returned.into_service()?;
    Ok(Made(Box::new(|serving| Box::pin(service.serve(serving)))))
}

impl ServiceEntry {
    pub(super) fn adopt(&self, outcome: Outcome) -> Result<Made, Error> {
        (self.adopt)(outcome)
    }
}

/// What the exported symbol points at: the ABI's header, and a reference to the manifest, which keeps the linker from
/// dropping a section that nothing else refers to.
#[repr(C)]
#[derive(Debug)]
pub struct Export {
    header: Header,
    manifest: &'static [u8],
}

impl Export {
    #[must_use]
    pub const fn new(run: RunFn, manifest: &'static [u8]) -> Self {
        Self { header: Header::new(VERSION, run), manifest }
    }
}
