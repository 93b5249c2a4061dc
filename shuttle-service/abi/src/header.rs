//! The exported symbol: its name, the header it points at, and the status an entry returns.

/// Version of the ABI: of [`Header`] and of everything that a [`RunFn`] is given. Raised when either changes its meaning.
pub const ABI_VERSION: u32 = 1;

/// First bytes of every [`Header`], so that a symbol of the same name from elsewhere is not mistaken for one.
pub const MAGIC: [u8; 8] = *b"SHUTTLE\x01";

/// The service was served and stopped as asked.
pub const STATUS_OK: i32 = 0;
/// Something failed; a [`RunnerMessage::Failed`](crate::RunnerMessage::Failed) with the reason was sent before.
pub const STATUS_FAILED: i32 = 1;
/// A panic reached the boundary and was caught there; reported as `Failed` as well.
pub const STATUS_PANICKED: i32 = 2;

/// Runs the service until it is told to stop, and returns one of the `STATUS_` values.
///
/// The argument is the JSON of an [`AppLaunch`](crate::AppLaunch): `len` bytes at `launch`, valid for the call.
/// It is called once a process, on the main thread. It never unwinds.
pub type RunFn = unsafe extern "C" fn(launch: *const u8, len: usize) -> i32;

/// What the exported symbol points at. The first three fields never move, in any version.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_VERSION`] of the SDK that made the artifact.
    pub abi_version: u32,
    /// Size of this struct in bytes, as the SDK knew it.
    pub size: u32,
    /// The SDK's version, UTF-8, `sdk_version_len` bytes.
    pub sdk_version: *const u8,
    pub sdk_version_len: usize,
    /// The entry.
    pub run: RunFn,
}

// SAFETY: the header is an immutable static; its one pointer points at a string literal, which lives as long as it.
#[allow(unsafe_code)]
unsafe impl Sync for Header {}

impl Header {
    /// The header of an artifact made with this version of the ABI.
    #[must_use]
    pub const fn new(sdk_version: &'static str, run: RunFn) -> Self {
        Self {
            magic: MAGIC,
            abi_version: ABI_VERSION,
            size: size_of::<Self>() as u32,
            sdk_version: sdk_version.as_ptr(),
            sdk_version_len: sdk_version.len(),
            run,
        }
    }
}

/// Name of the symbol that the artifact of the crate `crate_name` exports.
///
/// It carries the crate's name because an annotated crate may depend on another annotated one: two symbols of one name
/// would not link.
#[must_use]
pub fn symbol_name(crate_name: &str) -> String {
    format!("__shuttle_service_entry_{crate_name}")
}
