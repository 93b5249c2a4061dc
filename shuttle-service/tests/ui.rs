//! What the macro says to a mistake, one mistake a file, and what it takes.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p shuttle-service --test ui`, then read the difference.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
