//! `tracing` and `log`, written as records to the log pipe.

mod format;

use std::{
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use shuttle_abi::{Level, LogRecord, log::MAX_RECORD};
use tracing::{Dispatch, Subscriber, instrument::WithSubscriber, level_filters::LevelFilter, span};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use self::format::Fields;

/// What of a target is kept, in bytes.
const MAX_TARGET: usize = 256;

/// Where records go, and which.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pipe: Arc<Pipe>,
    filter: Targets,
    dispatch: Dispatch,
}

impl Output {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
        let pipe = Arc::new(Pipe(Mutex::new(File::from(pipe))));
        let layer = Recorder(Arc::clone(&pipe)).with_filter(filter.clone());
        let dispatch = Dispatch::new(Registry::default().with(layer));
        Self { pipe, filter, dispatch }
    }

    /// Runs the annotated function's future with its tracing recorded here, but with nothing installed for the process: the
    /// function may install its own, and most ways to do so panic when there is one.
    pub(crate) async fn within<T>(&self, future: Pin<Box<dyn Future<Output = T>>>) -> T {
        future.with_subscriber(self.dispatch.clone()).await
    }

    /// Becomes the process's subscriber and logger, each unless the app has installed its own.
    pub(crate) fn install(&self) {
        drop(tracing::dispatcher::set_global_default(self.dispatch.clone()));
        let logger = Logger { pipe: Arc::clone(&self.pipe), filter: self.filter.clone() };
        if log::set_boxed_logger(Box::new(logger)).is_ok() {
            log::set_max_level(max_level(&self.filter));
        }
    }
}

/// `RUST_LOG`'s directives as far as they are levels of targets; `info` without them. One that is none leaves the others.
fn filter(directives: Option<&str>) -> Targets {
    let is_directive = |text: &&str| !text.is_empty() && text.parse::<Targets>().is_ok();
    let directives: Vec<_> = directives.unwrap_or_default().split(',').map(str::trim).filter(is_directive).collect();
    match directives.join(",").parse() {
        Ok(targets) if !directives.is_empty() => targets,
        _ => Targets::new().with_default(LevelFilter::INFO),
    }
}

fn max_level(filter: &Targets) -> log::LevelFilter {
    let level = Layer::<Registry>::max_level_hint(filter).unwrap_or(LevelFilter::TRACE);
    match level.into_level() {
        None => log::LevelFilter::Off,
        Some(level) => match to_level(level) {
            Level::Error => log::LevelFilter::Error,
            Level::Warn => log::LevelFilter::Warn,
            Level::Info => log::LevelFilter::Info,
            Level::Debug => log::LevelFilter::Debug,
            Level::Trace => log::LevelFilter::Trace,
        },
    }
}

fn to_level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// The log pipe. A record is one write, so that records of several threads do not mix.
#[derive(Debug)]
struct Pipe(Mutex<File>);

impl Pipe {
    fn record(&self, level: Level, target: &str, message: &str) {
        let time_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
        let Some(line) = encode(time_us, level, target, message) else { return };
        // Where the server is gone, so is this process in a moment.
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line));
    }
}

/// A record as a line of at most [`MAX_RECORD`] bytes. How long a message becomes as JSON depends on what is in it, so one
/// that is too long is halved until it fits.
fn encode(time_us: u64, level: Level, target: &str, message: &str) -> Option<Vec<u8>> {
    let mut max = message.len().min(MAX_RECORD);
    loop {
        let record = LogRecord { time_us, level, target: cut(target, MAX_TARGET), message: cut(message, max) };
        let mut line = serde_json::to_vec(&record).ok()?;
        line.push(b'\n');
        if line.len() <= MAX_RECORD {
            return Some(line);
        }
        max /= 2;
    }
}

fn cut(text: &str, max: usize) -> String {
    match text.floor_char_boundary(max) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

/// Records of `tracing`: the event's message, its fields, and, before them, the spans it is in.
struct Recorder(Arc<Pipe>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            format::push_span(&mut text, span.name(), extensions.get::<Fields>());
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.push_event(&mut text);
        self.0.record(to_level(*event.metadata().level()), event.metadata().target(), &text);
    }
}

/// Records of `log`.
struct Logger {
    pipe: Arc<Pipe>,
    filter: Targets,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let level = match metadata.level() {
            log::Level::Error => tracing::Level::ERROR,
            log::Level::Warn => tracing::Level::WARN,
            log::Level::Info => tracing::Level::INFO,
            log::Level::Debug => tracing::Level::DEBUG,
            log::Level::Trace => tracing::Level::TRACE,
        };
        self.filter.would_enable(metadata.target(), &level)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Error => Level::Error,
                log::Level::Warn => Level::Warn,
                log::Level::Info => Level::Info,
                log::Level::Debug => Level::Debug,
                log::Level::Trace => Level::Trace,
            };
            let mut text = record.args().to_string();
            format::push_pairs(&mut text, record.key_values());
            self.pipe.record(level, record.target(), &text);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_never_is_longer_than_the_server_reads() {
        for message in ["a".repeat(MAX_RECORD), "\u{1}".repeat(MAX_RECORD), "é\n".repeat(3 * MAX_RECORD)] {
            let line = encode(u64::MAX, Level::Error, &"t".repeat(1000), &message).unwrap();
            assert!(line.len() <= MAX_RECORD && line.ends_with(b"\n"));
            let read: LogRecord = serde_json::from_slice(&line).unwrap();
            assert!(read.message.len() > MAX_RECORD / 16 && read.message.ends_with('…'));
            assert!(message.starts_with(read.message.trim_end_matches('…')));
        }
    }

    /// As tide logs a request; as `tracing`'s fields are written.
    #[test]
    fn key_values_of_log_are_kept() {
        let (reader, writer) = std::io::pipe().unwrap();
        let output = Output::new(writer.into());
        let logger = Logger { pipe: Arc::clone(&output.pipe), filter: output.filter.clone() };
        let (path, status): (&dyn std::fmt::Debug, _) = (&Some("/"), 200);
        let pairs: &[(&str, log::kv::Value<'_>)] = &[
            ("method", log::kv::Value::from("GET")),
            ("path", log::kv::Value::from_dyn_debug(path)),
            ("status", log::kv::Value::from(status)),
        ];
        let metadata = log::Metadata::builder().level(log::Level::Info).target("tide").build();
        let record = |text: std::fmt::Arguments<'_>| {
            logger.log(&log::Record::builder().metadata(metadata.clone()).args(text).key_values(&pairs).build());
        };
        use log::Log as _;
        record(format_args!("<-- Request received"));
        record(format_args!(""));
        logger.log(&log::Record::builder().metadata(metadata.clone()).args(format_args!("bare")).build());
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        let mut message = || serde_json::from_str::<LogRecord>(&lines.next().unwrap().unwrap()).unwrap().message;
        assert_eq!(message(), r#"<-- Request received method="GET" path=Some("/") status=200"#);
        assert_eq!(message(), r#"method="GET" path=Some("/") status=200"#);
        assert_eq!(message(), "bare");
    }

    #[test]
    fn a_short_record_is_whole() {
        let line = encode(7, Level::Warn, "app", "two\nlines").unwrap();
        assert_eq!(line, b"{\"time_us\":7,\"level\":\"warn\",\"target\":\"app\",\"message\":\"two\\nlines\"}\n");
    }

    #[test]
    fn rust_log_says_what_is_recorded() {
        let info = filter(None);
        assert!(info.would_enable("app", &tracing::Level::INFO) && !info.would_enable("app", &tracing::Level::DEBUG));
        for nothing_said in ["", " ", "app=loud"] {
            assert_eq!(filter(Some(nothing_said)).to_string(), info.to_string());
        }
        let others = filter(Some("other=loud, app=debug,[span{a=1}]=trace"));
        assert_eq!(others.to_string(), filter(Some("app=debug")).to_string(), "a mistake in one leaves the others");
        let some = filter(Some("warn,app=debug"));
        assert!(some.would_enable("app::db", &tracing::Level::DEBUG) && !some.would_enable("other", &tracing::Level::INFO));
        assert_eq!((max_level(&info), max_level(&some)), (log::LevelFilter::Info, log::LevelFilter::Debug));
    }
}
