//! End-to-end tests: the real server, the real CLI, real builds, real Postgres and Redis.
//!
//! Few, because each compiles real apps; each tells the story of one or several apps on a platform of its own. They run
//! as root and as an ordinary user alike. `SHUTTLE_TEST_BIN_DIR` names the folder of the three binaries (default: beside
//! the test's own platform-server), `SHUTTLE_TEST_REPO` the repository.

mod app;
mod builds;
mod connections;
mod examples;
mod fetches;
mod fixtures;
mod hostile;
mod leftovers;
mod life;
mod optimised;
mod platform;
mod resources;
mod restart;
