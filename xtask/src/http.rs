//! A small HTTP/1.1 client over a TCP stream: one request a connection, plain HTTP, for checking what runs on this machine.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::error::{Error, Result};

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    method: &'a str,
    /// `http://address:port`, without a trailing slash.
    base: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: &'a str,
}

impl<'a> Request<'a> {
    pub(crate) fn get(base: &'a str, path: &'a str) -> Self {
        Self { method: "GET", base, path, headers: Vec::new(), body: "" }
    }

    pub(crate) fn post(base: &'a str, path: &'a str, body: &'a str) -> Self {
        Self { method: "POST", base, path, headers: Vec::new(), body }
    }

    pub(crate) fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends it and reads the whole answer.
    pub(crate) fn send(&self) -> Result<Response> {
        let mut body = Vec::new();
        let (status, headers) = self.lines(|line| {
            body.extend_from_slice(line);
            Ok(())
        })?;
        Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Sends it and hands on each line of the body as it arrives, as an event stream needs.
    pub(crate) fn lines(&self, line: impl FnMut(&[u8]) -> Result<()>) -> Result<(u16, Vec<(String, String)>)> {
        self.exchange(line).map_err(|error| Error::new(format!("{} {}{}: {error}", self.method, self.base, self.path)))
    }

    fn exchange(&self, line: impl FnMut(&[u8]) -> Result<()>) -> Result<(u16, Vec<(String, String)>), String> {
        let address = self.base.strip_prefix("http://").ok_or("not a plain HTTP address")?;
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        for timeout in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            timeout(&stream, Some(Duration::from_secs(60))).map_err(|error| error.to_string())?;
        }
        stream.write_all(self.text(address).as_bytes()).map_err(|error| error.to_string())?;
        read(&mut BufReader::new(stream), line)
    }

    fn text(&self, address: &str) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {address}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.method == "POST" {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        text + "Connection: close\r\n\r\n" + self.body
    }
}

fn read(from: &mut impl BufRead, mut line: impl FnMut(&[u8]) -> Result<()>) -> Result<(u16, Vec<(String, String)>), String> {
    let (status, headers) = read_head(from)?;
    let header = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let length = match header("content-length") {
        Some(value) => Some(value.parse::<u64>().map_err(|_| "a Content-Length that is no number")?),
        None => None,
    };
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        read_lines(&mut BufReader::new(Chunks { from, left: 0, over: false }), &mut line)?;
    } else {
        read_lines(&mut from.take(length.unwrap_or(u64::MAX)), &mut line)?;
    }
    Ok((status, headers))
}

fn read_head(from: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>), String> {
    let mut next = || {
        let mut text = String::new();
        match from.read_line(&mut text) {
            Ok(0) => Err("the connection was closed before the answer was complete".to_owned()),
            Ok(_) => Ok(text.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let first = next()?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("an answer that is not HTTP: {first:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("a header without a colon: {line:?}"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_lines(from: &mut impl BufRead, line: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<(), String> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if from.read_until(b'\n', &mut bytes).map_err(|error| error.to_string())? == 0 {
            return Ok(());
        }
        line(&bytes).map_err(|error| error.to_string())?;
    }
}

/// The body of a chunked answer.
struct Chunks<'a, R> {
    from: &'a mut R,
    left: u64,
    over: bool,
}

impl<R: BufRead> Read for Chunks<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && !self.over {
            let mut size = String::new();
            self.from.read_line(&mut size)?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(digits, 16).map_err(|_| std::io::Error::other("a broken chunk"))?;
            self.over = self.left == 0;
        }
        if self.over {
            return Ok(0);
        }
        let read = self.from.take(self.left).read(into)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        if self.left == 0 {
            self.from.read_line(&mut String::new())?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(answer: &str) -> Result<(u16, String), String> {
        let mut body = String::new();
        let (status, _) = read(&mut answer.as_bytes(), |line| {
            body += &String::from_utf8_lossy(line);
            Ok(())
        })?;
        Ok((status, body))
    }

    #[test]
    fn bodies_end_by_length_by_chunk_and_by_close() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na\nbcd-and-more",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n3;x=y\r\nbcd\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\na\nbcd",
        ] {
            assert_eq!(parse(answer), Ok((200, "a\nbcd".to_owned())), "{answer:?}");
        }
    }

    #[test]
    fn broken_answers_are_errors() {
        for answer in
            ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]
        {
            assert!(parse(answer).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_request_names_its_host_once() {
        let text = Request::post("http://127.0.0.1:1", "/", "ab").header("Host", "app.localhost").text("127.0.0.1:1");
        assert_eq!(text, "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab");
    }
}
