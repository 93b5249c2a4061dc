//! A workspace of two thousand files: how long it takes until the server has it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Found,
    app::{HELLO, Project},
    deploy::{Bench, DEPLOY},
    figures,
    report::{self, Part},
};
use crate::{
    cmd::{self, Captured},
    error::{At, Error, Result},
    ui,
};

/// Members beside the app itself, and files in each; with them the workspace has two thousand.
const MEMBERS: usize = 20;
const FILES: usize = 100;
/// Size of a file, in bytes: about what a source file has.
const SIZE: usize = 4096;

/// Times the command up to the server's 202, and reading the same files, in turns.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Found> {
    let mut project = Project::example(bench.repo, &HELLO, bench.temp.join("large"))?;
    project.rename("large".to_owned())?;
    write(&project.folder)?;
    project.lock()?;
    let (mut packs, mut reads) = (Vec::new(), Vec::new());
    let (mut files, mut size, mut parts) = (Vec::new(), String::new(), Vec::new());
    for number in 0..bench.rounds {
        let text = format!("Upload {number}.");
        project.edit(&text)?;
        files = files_below(&project.folder)?;
        if number.is_multiple_of(2) {
            reads.push(read(&files)?);
        }
        let sent = send(bench, &project)?;
        packs.push(sent.time);
        if !number.is_multiple_of(2) {
            reads.push(read(&files)?);
        }
        size = packed(&sent.said, files.len())?;
        ui::note(format_args!("uploaded after {}, reading {}", ui::seconds(sent.time), ui::seconds(reads[number])));
        parts.push(sent.parts);
        // Its build would take part in the next round.
        finished(bench, &sent.printed)?;
        bench.wait_for(&project, &text)?;
    }
    let over = report::median_time(packs.iter().zip(&reads).map(|(pack, read)| pack.saturating_sub(*read)));
    let bytes: u64 = files.iter().filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum();
    let text = format!(
        "A generated workspace of {MEMBERS} members beside the app, {} files and {:.1} MB in all; packed: {size}, the SDK's own \
         files among them. One file is edited before each round. `cargo shuttle deploy --no-follow` ends when the server has \
         taken the archive.\n\n\
         | | median of {} |\n|---|---:|\n| `cargo shuttle deploy`, until the server has the archive | {} |\n\
         | reading the workspace's files one after another | {} |\n| the one over the other, round by round | **{}** |\n\n\
         Where the time goes, by what the CLI says meanwhile:\n\n{}",
        files.len(),
        bytes as f64 / 1e6,
        packs.len(),
        ui::seconds(report::median_time(packs.iter().copied())),
        ui::seconds(report::median_time(reads.iter().copied())),
        ui::seconds(over),
        report::medians_table(&parts),
    );
    Ok(Found { figures: vec![figures::PACK.time(over)], text })
}

/// One upload.
struct Sent {
    time: Duration,
    /// What the CLI said of its progress, what it printed, and when it said what.
    said: String,
    printed: String,
    parts: Vec<Part>,
}

/// Runs the CLI until the server has the archive, and looks when it says what.
fn send(bench: &Bench<'_>, project: &Project) -> Result<Sent> {
    let mut command = bench.server.cli(&project.folder);
    command.args(DEPLOY).arg("--no-follow").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let broken = |error: std::io::Error| Error::new(format!("cannot run cargo-shuttle: {error}"));
    let began = Instant::now();
    let mut cli = command.spawn().map_err(broken)?;
    cmd::end_when_stopped(&cli);
    let mut marks = vec![("find the package, list and pack the files".to_owned(), Duration::ZERO)];
    let mut said = String::new();
    for line in cli.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line.map_err(broken)?;
        marks.extend(mark(&line).map(|name| (name.to_owned(), began.elapsed())));
        let _ = writeln!(said, "{line}");
    }
    let mut output = cli.wait_with_output().map_err(broken)?;
    let time = began.elapsed();
    output.stderr = said.into_bytes();
    let Captured { stdout: printed, stderr: said } = cmd::checked(&command, &output)?;
    Ok(Sent { time, said, printed, parts: report::parts(&marks, time) })
}

/// What begins with this line of the CLI's.
fn mark(line: &str) -> Option<&'static str> {
    match line.split_whitespace().next()? {
        "Packed" => Some("upload, check and unpack"),
        "Uploaded" => Some("the CLI ends"),
        _ => None,
    }
}

/// Members that nothing depends on: they are sent, as cargo asks for every member, and not compiled.
fn write(folder: &Path) -> Result<()> {
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).at(&manifest)?;
    let with_members = text.replace("[workspace]", "[workspace]\nmembers = [\"members/*\"]");
    if with_members == text {
        return Err(Error::new(format!("{} is no workspace's root", manifest.display())));
    }
    fs::write(&manifest, with_members).at(&manifest)?;
    let mut words = Words(1);
    for member in 0..MEMBERS {
        let member = folder.join(format!("members/m{member}"));
        let source = member.join("src");
        fs::create_dir_all(&source).at(&source)?;
        let name = member.file_name().unwrap_or_default().to_string_lossy();
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        fs::write(member.join("Cargo.toml"), manifest).at(&member)?;
        let mut library = String::new();
        for number in 0..FILES - 2 {
            let file = source.join(format!("part{number}.rs"));
            fs::write(&file, words.source()).at(&file)?;
            let _ = writeln!(library, "mod part{number};");
        }
        fs::write(source.join("lib.rs"), library).at(&source)?;
    }
    Ok(())
}

/// Text that compresses about as source code does: words that repeat, and numbers that do not.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        // Xorshift: the same files in every run.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn source(&mut self) -> String {
        let verbs = ["read", "write", "parse", "check", "open", "close", "send", "take"];
        let things = ["file", "header", "request", "answer", "line", "entry", "user", "route"];
        let mut text = String::with_capacity(SIZE + 128);
        while text.len() < SIZE {
            let (number, key) = (self.next(), self.next());
            let (verb, thing) = (verbs[(number % 8) as usize], things[(number / 8 % 8) as usize]);
            let _ = writeln!(
                text,
                "pub fn {verb}_{thing}_{}(value: u64) -> u64 {{\n    value.rotate_left({}) ^ {key:#x}\n}}\n",
                number % 10_000,
                key % 64
            );
        }
        text
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at(&folder)? {
            let path = entry.at(&folder)?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

fn read(files: &[PathBuf]) -> Result<Duration> {
    let began = Instant::now();
    for file in files {
        std::hint::black_box(fs::read(file).at(file)?);
    }
    Ok(began.elapsed())
}

/// How much the CLI says to have packed: `large (2103 files, 1.2 MB)`. Fewer files than there are would be another comparison.
fn packed(printed: &str, least: usize) -> Result<String> {
    let line = printed.lines().find_map(|line| line.trim_start().strip_prefix("Packed "));
    let size = line.and_then(|line| Some(line.split_once('(')?.1.trim_end_matches(')').to_owned()));
    let files = size.as_deref().and_then(|size| size.split_once(" files")?.0.parse::<usize>().ok());
    match (size, files) {
        (Some(size), Some(files)) if files >= least => Ok(size),
        _ => Err(Error::new(format!("the CLI did not say that it packed at least {least} files:\n{printed}"))),
    }
}

/// Until the deployment that the CLI printed has come to rest.
fn finished(bench: &Bench<'_>, printed: &str) -> Result<()> {
    let deployment: Value = serde_json::from_str(printed.trim()).unwrap_or_default();
    let id = deployment["id"].as_str().ok_or_else(|| Error::new(format!("the CLI printed no deployment: {printed:?}")))?;
    let mut outcome = Value::Null;
    bench.server.api(&format!("/deployments/{id}/events")).lines(|line| {
        let event: Option<Value> = line.strip_prefix(b"data:").and_then(|data| serde_json::from_slice(data).ok());
        outcome = event.filter(|event| event["type"] == "finished").map_or(outcome.take(), |event| event["outcome"].clone());
        Ok(())
    })?;
    if outcome["result"] == "deployed" {
        return Ok(());
    }
    Err(Error::new(format!("the deployment of the large workspace ended otherwise than live: {outcome}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Temp;

    #[test]
    fn the_workspace_has_two_thousand_files_more() {
        let temp = Temp::new("pack-test").unwrap();
        fs::write(temp.path.join("Cargo.toml"), "[package]\nname = \"app\"\n\n[workspace]\n").unwrap();
        write(&temp.path).unwrap();
        let files = files_below(&temp.path).unwrap();
        assert_eq!(files.len(), 2001);
        assert!(read(&files).unwrap() > Duration::ZERO);
    }

    #[test]
    fn what_the_cli_says_tells_what_begins() {
        assert_eq!(mark("      Packed large (2103 files, 1.2 MB)"), Some("upload, check and unpack"));
        assert_eq!(mark("    Uploaded as deployment x"), Some("the CLI ends"));
        assert_eq!((mark("   Uploading to x"), mark("")), (None, None));
    }

    #[test]
    fn too_few_files_are_no_measurement() {
        let line = "      Packed large (2103 files, 1.2 MB)\n";
        assert_eq!(packed(line, 2000).unwrap(), "2103 files, 1.2 MB");
        assert!(packed(line, 2104).is_err());
        assert!(packed("    Uploaded as deployment x", 1).is_err());
    }
}
