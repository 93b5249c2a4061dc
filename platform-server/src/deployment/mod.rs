//! Deployments: their states, who may change them, and the way from an archive to a serving app.
//!
//! ```text
//!             build              start               answer
//!  Queued ─────────► Built ─────────────► Loaded ─────────────► Deployed
//!     │                │ ▲                   │                     │
//!     │                │ └── superseded ─────┼─────────────────────┘
//!     └──── Error ◄────┴─────────────────────┘          any ──► Deleted
//! ```
//!
//! - [`state`]: the states, each a struct that owns the data of its stage; transitions consume.
//! - [`policy`]: what may follow, as pure functions.
//! - [`queue`]: which deployment is built next.
//! - [`driver`]: the only writer of a deployment's state; drives each from where it is to where it ends.
//! - [`settings`]: what of an annotation's settings this server honours.
//! - [`launcher`]: from an artifact to an instance that serves, as a first connection shows ([`probe`]).
//! - [`instances`]: keeps what is deployed running, and restarts it when it ends.
//! - [`routed`]: which deployment a project's requests are for.
//! - [`restore`]: what is gone from the disk, made again.
//! - [`retention`]: how long files are kept.
//! - [`events`]: what a client follows.
//! - [`taken_up`]: what servers did not live to end.
//! - [`health`]: what is wrong with the server as a whole.
//! - [`under_way`]: which deployments somebody drives; when none, [`idle`] has work of its own.

pub(crate) mod driver;
pub(crate) mod events;
mod health;
pub(crate) mod idle;
pub(crate) mod instances;
pub(crate) mod launcher;
pub(crate) mod policy;
mod probe;
pub(crate) mod queue;
pub(crate) mod restore;
pub(crate) mod retention;
mod routed;
mod settings;
pub(crate) mod state;
pub(crate) mod taken_up;
pub(crate) mod under_way;

pub(crate) use driver::Driver;
pub(crate) use events::EventStore;
pub(crate) use state::{Built, Deployed, Deployment, Digest, Failed, Loaded, Meta, Optimised, Queued};
