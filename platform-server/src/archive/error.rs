//! Why an archive was not unpacked.

use std::io;

/// Why an archive was not unpacked. Its `Display` is one sentence for the user who sent it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive breaks a rule or a limit: the sender's fault.
    #[error("the archive was refused{}: {refusal}", which(entry, *number))]
    Refused {
        /// The entry's name with its control characters escaped; empty where it is not known, or no entry is at fault.
        entry: String,
        /// Which one it is, counted from 1; 0 where no entry is at fault.
        number: u64,
        refusal: Refusal,
    },
    /// The archive could not be read from where it comes: a fault of the connection or of the server's disk.
    #[error("the archive could not be read: {0}")]
    Read(io::Error),
    /// A file could not be written: a fault of the server's. See [`ArchiveError::is_disk_full`].
    #[error("the archive could not be unpacked{}: {error}", at(entry))]
    Write { entry: String, error: io::Error },
}

impl ArchiveError {
    /// Whether the sender has to change the archive, as opposed to a fault of the server's.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the archive is over one of the limits, as opposed to broken.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        use Refusal as R;
        matches!(
            self,
            Self::Refused {
                refusal: R::TooManyEntries { .. }
                    | R::TooManyFolders { .. }
                    | R::FileTooLarge { .. }
                    | R::UnpacksToTooMuch { .. }
                    | R::IndexTooLarge { .. },
                ..
            }
        )
    }

    /// The server's flag that sets the limit which the archive is over.
    #[must_use]
    pub fn limit_flag(&self) -> Option<&'static str> {
        match self {
            Self::Refused { refusal: Refusal::TooManyEntries { .. }, .. } => Some("--max-archive-entries"),
            Self::Refused { refusal: Refusal::TooManyFolders { .. }, .. } => Some("--max-archive-folders"),
            Self::Refused { refusal: Refusal::UnpacksToTooMuch { .. }, .. } => Some("--max-unpacked-bytes"),
            _ => None,
        }
    }

    /// The same, of the entry with this number, where it is one entry's.
    pub(super) fn of_entry(mut self, last: u64) -> Self {
        if let Self::Refused { entry, number, refusal } = &mut self
            && (!entry.is_empty() || matches!(refusal, Refusal::Checksum))
            // Of the first entry everything is said by its name, which has to be that of the index.
            && last > 1
        {
            *number = last;
        }
        self
    }

    /// Whether the server has no room left for the files.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Write { error, .. } if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

fn which(entry: &str, number: u64) -> String {
    match (entry, number) {
        (entry, 0) => at(entry),
        ("", number) => format!(" at its entry number {number}"),
        (entry, number) => format!(" at its entry number {number}, `{entry}`"),
    }
}

fn at(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(" at its entry `{entry}`") }
}

/// The rule that an archive breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is not a gzip file")]
    NotGzip,
    #[error("its compressed data is damaged ({0})")]
    Damaged(String),
    #[error("it is empty; the archive has to be the body of the request")]
    Empty,
    #[error("it ends too early; was the upload cut short?")]
    Truncated,
    #[error("there is something after its end")]
    TrailingData,
    #[error("the checksum of its header is wrong; it is damaged, or no tar archive")]
    Checksum,
    #[error("the field `{0}` of its header is no number")]
    Field(&'static str),
    #[error("its extended header is malformed; each record of one has to be `LENGTH KEYWORD=VALUE` and a line feed")]
    ExtendedHeader,
    #[error("its type says that it is a file, and its name ends with `/` as a folder's")]
    FileNamedAsFolder,
    #[error("it is a folder, and has a content of {bytes} bytes")]
    FolderWithContent { bytes: u64 },
    #[error("it is a gzip file with nothing in it")]
    NoEntries,
    #[error("the first entry has to be the index `shuttle.json`; use `cargo shuttle deploy` to pack a project")]
    NoIndex,
    #[error("the index is longer than {limit} bytes")]
    IndexTooLarge { limit: u64 },
    #[error("the index is not what this server expects ({0}); cargo-shuttle and platform-server may be of different versions")]
    BadIndex(String),
    #[error("the index says format {found}, this server reads format {known}: {}", which_side(*found, *known))]
    Format { found: u32, known: u32 },
    #[error("the index names `{path}`, which is not in the archive")]
    Missing { path: String },
    #[error("it has more than {limit} entries, the folders that their paths imply included")]
    TooManyEntries { limit: u64 },
    #[error("it has more than {limit} folders, those that the paths of its entries imply included")]
    TooManyFolders { limit: u64 },
    #[error("the file is larger than {limit} bytes")]
    FileTooLarge { limit: u64 },
    #[error("the files are larger than {limit} bytes together")]
    UnpacksToTooMuch { limit: u64 },
    #[error("the path {0}")]
    Path(PathFault),
    #[error("{0} are not accepted, only files and folders")]
    EntryType(&'static str),
    #[error("its extended header has the keyword `{0}`, which is not accepted")]
    Extension(String),
    #[error("it occurs twice")]
    Duplicate,
    #[error("it is a file in one place and a folder in another")]
    Conflict,
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("is empty")]
    Empty,
    #[error("is absolute")]
    Absolute,
    #[error("has a `..`")]
    Parent,
    #[error("has an empty part or a `.`")]
    NotPlain,
    #[error("has a backslash")]
    Backslash,
    #[error("has a control character")]
    Control,
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    #[error("has a part of more than 255 bytes")]
    PartTooLong,
    #[error("is deeper than {0} folders")]
    TooDeep(usize),
}

impl Refusal {
    /// The refusal, of the entry with this name.
    pub(super) fn at(self, entry: &str) -> ArchiveError {
        self.at_bytes(entry.as_bytes())
    }

    pub(super) fn at_bytes(self, entry: &[u8]) -> ArchiveError {
        ArchiveError::Refused { entry: shown(entry), number: 0, refusal: self }
    }

    /// The refusal, of the archive as a whole.
    pub(super) fn whole(self) -> ArchiveError {
        ArchiveError::Refused { entry: String::new(), number: 0, refusal: self }
    }
}

/// A name from an archive, fit for a terminal: escaped and cut.
fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(&name[..name.len().min(4 * LONGEST)]);
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            let escaped = if c.is_control() { Some(c.escape_default()) } else { None };
            let plain = if escaped.is_none() { Some(c) } else { None };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

fn which_side(found: u32, known: u32) -> &'static str {
    if found > known {
        "update the server (platform-server), or deploy with an older cargo-shuttle"
    } else {
        "update cargo-shuttle"
    }
}
