//! Frames on the control socket: a length (u32, little endian) and so many bytes of JSON.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Longest frame that is read from a runner, in bytes. A runner is not trusted, so this bounds what it can make the
/// server hold.
pub const MAX_FROM_RUNNER: usize = 64 * 1024;
/// Longest frame that is read from the server, in bytes.
pub const MAX_FROM_SERVER: usize = 4 * 1024 * 1024;

/// The bytes of one frame.
///
/// # Errors
/// When the message does not serialize, or is longer than a `u32` can say.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Writes one frame in one call, so that frames of two writers do not mix.
///
/// # Errors
/// Those of the writer and of [`encode`].
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads one frame; `None` when the other side has closed the connection between two frames.
///
/// # Errors
/// Those of the reader; `InvalidData` for a frame over `max` bytes or one that is not the JSON of a `T`.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, max: usize) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes, over the limit of {max}")));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back_and_the_end_is_told_from_an_error() {
        let bytes = encode(&"hello").unwrap();
        let mut reader = bytes.as_slice();
        assert_eq!(read::<String>(&mut reader, 100).unwrap().as_deref(), Some("hello"));
        assert!(read::<String>(&mut reader, 100).unwrap().is_none());
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let error = read::<String>(&mut u32::MAX.to_le_bytes().as_slice(), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_frame_cut_short_is_an_error() {
        let bytes = encode(&"hello").unwrap();
        assert!(read::<String>(&mut &bytes[..bytes.len() - 1], 100).is_err());
    }
}
