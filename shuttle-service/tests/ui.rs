//! What the macro says to a mistake, one mistake a file, and what it takes.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p shuttle-service --test ui`, then read the difference.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    // These are run as well, which an app without the platform cannot be: each stands in a module, beside a `main` of its own.
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
