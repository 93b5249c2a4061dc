//! The pieces that the macro's expansion is put together from.
//!
//! Each trait bound on a user's type stands in one place only, so that a wrong type is one error on that type.

use std::{any::Any, fmt, pin::Pin};

use shuttle_abi::{Header, Kind, RunFn};

use super::{Failure, Resources, message::Message};
use crate::{
    Error, Parameter, SecretStore, Service, Serving, VERSION,
    manifest::{ParamInfo, ServiceInfo},
    resource::{Accepts, Needs, OptionEntry, Options, Slot, contains},
};

/// A future of one thread, its type put aside.
pub(super) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A resource that is being made.
type Making<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

/// A parameter of the annotated function.
pub struct Param<T> {
    pub info: ParamInfo,
    accepts: Accepts,
    make: for<'a> fn(Slot<'a>) -> Making<'a, T>,
}

/// The parameter `name` of type `T`, with the options of the attribute on it.
#[must_use]
pub const fn param<T: Parameter>(name: &'static str, options: &'static [OptionEntry]) -> Param<T> {
    let info = ParamInfo { name, needs: T::NEEDS, options };
    Param { info, accepts: T::ACCEPTS, make: |slot| Box::pin(T::take(slot)) }
}

/// The checks run at compile time. Each stands apart from [`param`], so that its error is on the attribute's tokens.
impl<T> Param<T> {
    /// That the parameter is made from what the attribute is for.
    #[track_caller]
    pub const fn check_kind(&self, attribute: &str, kind: &str) {
        if self.info.needs.has(kind) {
            return;
        }
        let mut message = Message::new();
        message.add("`#[");
        message.add(attribute);
        message.add("]` is for a parameter that is made from ");
        message.add(kind);
        message.add("; this one is made from ");
        match &self.info.needs {
            Needs::One { kind, .. } => message.add(kind),
            Needs::All(_) => message.add("several other things"),
        }
        message.add(": its options stand in `#[resource(…)]`, and without any no attribute is needed");
        panic!("{}", message.text());
    }

    /// That the parameter's type has this option, and that the option can be read when it has to be.
    #[track_caller]
    pub const fn check_option(&self, index: usize) {
        let option = &self.info.options[index];
        let mut message = Message::new();
        if !self.accepts.knows(option.name) {
            message.add("the parameter's type has no option `");
            message.add(option.name);
            message.add("`: ");
            add_known(&mut message, &self.accepts);
        } else if is_read_by_platform(&self.info.needs, option.name) && option.value.refers_to_secrets() {
            message.add("no secret can stand in `");
            message.add(option.name);
            message.add("`: the platform reads it from the built app, to prepare what the app is then given");
        } else {
            return;
        }
        panic!("{}", message.text());
    }

    /// Makes the resource from what the platform gave for it.
    ///
    /// # Errors
    /// When it gave nothing that fits, or the resource cannot be made from it.
    pub async fn make(&self, from: &Resources) -> Result<T, Failure> {
        self.try_make(from).await.map_err(|error| Failure(format!("parameter `{}`: {}", self.info.name, error.chain())))
    }

    async fn try_make(&self, from: &Resources) -> Result<T, Error> {
        let secrets = match self.info.options_refer_to_secrets() {
            true => {
                let name = format!("{}.secrets", self.info.name);
                Some(SecretStore::take(Slot::new(&from.given, &name, &Options::new())).await?)
            }
            false => None,
        };
        let options = Options::resolve(self.info.options, secrets.as_ref())?;
        (self.make)(Slot::new(&from.given, self.info.name, &options)).await
    }
}

const fn is_read_by_platform(needs: &Needs, option: &str) -> bool {
    match needs {
        Needs::One { options, .. } => contains(options, option),
        Needs::All(_) => false,
    }
}

/// Names the options that a parameter's type has.
const fn add_known(to: &mut Message, accepts: &Accepts) {
    to.add("it has");
    let mut level = Some(accepts);
    let mut first = true;
    while let Some(accepts) = level {
        let mut i = 0;
        while i < accepts.own.len() {
            to.add(if first { " `" } else { ", `" });
            to.add(accepts.own[i]);
            to.add("`");
            first = false;
            i += 1;
        }
        level = accepts.rest;
    }
    if first {
        to.add(" none");
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
pub trait Returned<Marker>: 'static {
    type Service: Service<Marker>;

    fn into_service(self) -> Result<Self::Service, Error>;
}

impl<M: 'static, S: Service<M>, E: Into<Error> + 'static> Returned<M> for Result<S, E> {
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
pub const fn service<F, Fut, Marker>(_: &F) -> ServiceEntry
where
    F: Fn(Args) -> Fut,
    Fut: Future,
    Fut::Output: Returned<Marker>,
    Marker: 'static,
{
    ServiceEntry { info: info::<<Fut::Output as Returned<Marker>>::Service, Marker>(), adopt: adopt::<Fut::Output, Marker> }
}

const fn info<S: Service<Marker>, Marker>() -> ServiceInfo {
    ServiceInfo { framework: S::FRAMEWORK, kind: S::KIND, listen: S::LISTEN }
}

fn adopt<R: Returned<Marker>, Marker: 'static>(outcome: Outcome) -> Result<Made, Error> {
    let returned = outcome.0.downcast::<R>().map_err(|_| Error::msg("the function returned another type than it declared"))?;
    let service = returned.into_service()?;
    Ok(Made(Box::new(|serving| Box::pin(service.serve(serving)))))
}

impl ServiceEntry {
    /// That a setting that is about requests is not asked for where there are none.
    #[track_caller]
    pub const fn check_is_sent_requests(&self, setting: &str) {
        if matches!(self.info.kind, Kind::Http) {
            return;
        }
        let mut message = Message::new();
        message.add("a background service is sent no requests and never sleeps: `");
        message.add(setting);
        message.add("` means nothing to it");
        panic!("{}", message.text());
    }

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
