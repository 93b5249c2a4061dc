//! Types that cross HTTP between `cargo-shuttle` and `platform-server`, and nothing else: no I/O, no client, no server.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /healthz` | 200, [`Health`]; needs no key |
//! | `POST /deploy?project=NAME&secrets=ID&build=MODE&force=BOOL&origin=IDS&replace=BOOL`, body: a tar.gz ([`archive`]) | 202, [`Deployment`]; it gets the secrets of that set, and without `secrets` those of the project's newest one; `build`: a [`BuildMode`]. 200, the [`Deployment`] that serves, where it is the very same already (archive, secrets and `build`) and its app runs; with `force=true` it is built all the same. 409 `other_origin` where `origin` ([`Origin`]) is given and the project was deployed from another one, unless `replace=true` |
//! | `GET /projects` | 200, `[`[`Project`]`]` |
//! | `GET /projects/{name}` | 200, [`Project`] |
//! | `DELETE /projects/{name}` | 200, [`Deleted`]; data is kept |
//! | `POST /projects/{name}/restart` | 200, [`Project`]: an instance that was started just now serves, from the optimised build where there is one. 409 where nothing is deployed; 422 where it does not start, and the old one goes on serving |
//! | `PUT /projects/{name}/secrets`, body: [`Secrets`] | 200, [`SecretSet`]: a new set, beside the older ones, or the newest where that holds the same; the project need not exist |
//! | `GET /projects/{name}/env` | 200, [`Variables`] |
//! | `PATCH /projects/{name}/env`, body: [`EnvChange`] | 200, [`Variables`]: the project's own are changed, and the next instance gets them; the project need not exist |
//! | `GET /projects/{name}/logs?tail=N&follow=BOOL&deployment=ID` | 200; `[`[`LogLine`]`]`, or with `follow=true` an event stream of [`LogLine`]s; with `deployment`, only what that one wrote (the end of its id will do). Also of a project that was deleted, while its log is kept |
//! | `GET /projects/{name}/deployments` | 200, `[`[`Deployment`]`]`, newest first |
//! | `GET /deployments/{id}` | 200, [`Deployment`] |
//! | `POST /deployments/{id}/cancel` | 200, [`Deployment`]; 409 where it serves or has ended already |
//! | `GET /deployments/{id}/events` | 200, an event stream of [`Event`]s that ends after [`Event::Finished`] |
//!
//! Every request but `/healthz` carries `Authorization: Bearer KEY`. An event stream (`text/event-stream`) has one JSON
//! document in each `data:` line and a number in `id:`; it is resumed with `Last-Event-ID`, from the event after that
//! number. Comment lines (`:`) are sent to keep it open. Every answer but a 2xx has an [`ApiError`] as its body.

pub mod archive;
pub mod build;
pub mod env;
pub mod error;
pub mod event;
pub mod log;
pub mod name;
pub mod origin;
pub mod project;
pub mod secrets;

pub use archive::{ARCHIVE_FORMAT, ArchiveIndex, INDEX_NAME};
pub use build::{BuildKind, BuildMode, LaterBuild, UnknownMode};
pub use env::{Env, EnvChange, InvalidEnv, Variables};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, Outcome, Stage};
pub use log::{LogLevel, LogLine, LogSource};
pub use name::{InvalidName, ProjectName};
pub use origin::Origin;
pub use project::{Deleted, Deployment, Failure, FailureKind, Health, Project, Resource, ServiceKind, Serving, State};
pub use secrets::{InvalidSecrets, SecretSet, Secrets};
