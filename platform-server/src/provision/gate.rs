//! The door to the platform's own Postgres: how many connections each user of the machine may have there.
//!
//! Postgres counts connections by role, and only once they have given a password; until then each takes one of the places
//! that all apps share. So apps do not connect to Postgres itself, whose socket nobody else can reach, but to this one, which
//! looks at the uid of whoever connects, counts, and passes on what both sides say. An app that asked for no database gets
//! nowhere; one that did gets the places that it was given and none of another's.
//!
//! Runs on a thread of its own, so that a query waits for nothing else that the server does.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    future::pending,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that are read at a time, in each direction.
const BUFFER: usize = 16 * 1024;
/// How long one that is refused may take to say its first words, after which it listens.
const FIRST_WORDS: Duration = Duration::from_secs(1);
/// How many are told at a time why they are refused; more are cut off without a word.
const REFUSALS: usize = 16;
/// Pause after a connection that could not be taken, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);

/// Postgres' codes for why there is no connection.
const NOT_ALLOWED: &str = "28000";
const TOO_MANY: &str = "53300";
const NOT_YET: &str = "57P03";

/// The open door. It is closed when this is dropped, and those who went through are cut off.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Mutex<HashMap<u32, Places>>>,
    /// That are let through at a time.
    most: u32,
    _open: DropGuard,
}

#[derive(Debug, Default)]
struct Places {
    /// By what they were given for.
    given: BTreeMap<String, u32>,
    taken: u32,
}

impl Gate {
    /// Takes connections at the socket `at`, for the server that listens at `to`, at most so many at a time. Half of them is the
    /// most that one user can have, whatever it is given.
    pub(super) fn open(at: &Path, to: PathBuf, most: u32) -> io::Result<Self> {
        match fs::remove_file(at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(at)?;
        listener.set_nonblocking(true)?;
        // Whoever may not come in is told so, which takes a connection.
        fs::set_permissions(at, fs::Permissions::from_mode(0o666))?;
        let (places, open) = (Arc::default(), CancellationToken::new());
        let (door, closed) = (Door { places: Arc::clone(&places), most, to: to.into() }, open.clone());
        std::thread::Builder::new().name("postgres-gate".into()).spawn(move || {
            if let Err(error) = door.run(listener, &closed) {
                tracing::error!(%error, "nobody gets to Postgres");
            }
        })?;
        Ok(Self { places, most, _open: open.drop_guard() })
    }

    /// The most connections that one user can have, whatever it is given.
    pub(super) fn most_of_one(&self) -> u32 {
        most_of_one(self.most)
    }

    /// Gives this user so many places for a database, beside those for others.
    pub(super) fn give(&self, uid: u32, database: &str, places: u32) {
        lock(&self.places).entry(uid).or_default().given.insert(database.to_owned(), places);
    }
}

/// Of so many for all.
pub(crate) fn most_of_one(most: u32) -> u32 {
    most / 2
}

fn lock(places: &Mutex<HashMap<u32, Places>>) -> MutexGuard<'_, HashMap<u32, Places>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread has.
#[derive(Clone)]
struct Door {
    places: Arc<Mutex<HashMap<u32, Places>>>,
    most: u32,
    to: Arc<Path>,
}

/// A place, while it is taken.
struct Place {
    places: Arc<Mutex<HashMap<u32, Places>>>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = lock(&self.places).get_mut(&self.uid) {
            places.taken -= 1;
        }
    }
}

/// Why somebody is not let in.
struct Refused {
    code: &'static str,
    why: String,
}

impl Door {
    fn run(&self, listener: std::os::unix::net::UnixListener, closed: &CancellationToken) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = UnixListener::from_std(listener)?;
            tokio::select! {
                () = self.keep(listener) => {}
                () = closed.cancelled() => {}
            }
            Ok(())
        })
    }

    async fn keep(&self, listener: UnixListener) {
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        loop {
            let accepted = listener.accept().await.and_then(|(client, _)| Ok((client.peer_cred()?.uid(), client)));
            let (uid, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection to Postgres could not be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (door, refusals) = (self.clone(), Arc::clone(&refusals));
            match self.enter(uid) {
                Ok(place) => {
                    tokio::spawn(async move { door.pass(client, place, &refusals).await });
                }
                Err(refused) => {
                    tracing::debug!(uid, why = refused.why, "a connection to Postgres was refused");
                    tokio::spawn(async move { refuse(client, &refused, &refusals).await });
                }
            }
        }
    }

    fn enter(&self, uid: u32) -> Result<Place, Refused> {
        let mut places = lock(&self.places);
        let all: u32 = places.values().map(|places| places.taken).sum();
        let Some(of_this) = places.get_mut(&uid) else {
            return Err(Refused { code: NOT_ALLOWED, why: "no parameter of this app asks for a Postgres database".to_owned() });
        };
        if all >= self.most {
            return Err(Refused {
                code: TOO_MANY,
                why: format!("the apps of this server have {all} connections to Postgres, which is all that it takes"),
            });
        }
        if of_this.taken >= of_this.given.values().sum::<u32>().min(most_of_one(self.most)) {
            let why = format!("this app has {} connections to Postgres, which is all that it may have", of_this.taken);
            return Err(Refused { code: TOO_MANY, why });
        }
        of_this.taken += 1;
        Ok(Place { places: Arc::clone(&self.places), uid })
    }

    /// Passes on what both sides say, until Postgres has ended.
    async fn pass(&self, mut client: UnixStream, place: Place, refusals: &Semaphore) {
        let mut server = match UnixStream::connect(&self.to).await {
            Ok(server) => server,
            Err(error) => {
                let why = format!("the platform's Postgres cannot be reached just now: {error}");
                return refuse(client, &Refused { code: NOT_YET, why }, refusals).await;
            }
        };
        let ((from_client, mut to_client), (from_server, mut to_server)) = (client.split(), server.split());
        let up = async {
            let _ = tokio::io::copy_buf(&mut BufReader::with_capacity(BUFFER, from_client), &mut to_server).await;
            let _ = to_server.shutdown().await;
            // Postgres ends with its client, and says its last words before that.
            pending::<()>().await;
        };
        let mut from_server = BufReader::with_capacity(BUFFER, from_server);
        tokio::select! {
            _ = tokio::io::copy_buf(&mut from_server, &mut to_client) => {}
            () = up => {}
        }
        drop(place);
    }
}

/// Tells why, as Postgres would. Before it has said something itself, a client does not listen.
async fn refuse(mut client: UnixStream, refused: &Refused, refusals: &Semaphore) {
    let Ok(_one_of_few) = refusals.try_acquire() else { return };
    let _ = tokio::time::timeout(FIRST_WORDS, async {
        let mut words = [0; 1024];
        let _ = client.read(&mut words).await?;
        client.write_all(&error_response(refused)).await?;
        client.shutdown().await
    })
    .await;
}

/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-ERRORRESPONSE>
fn error_response(refused: &Refused) -> Vec<u8> {
    let mut fields = Vec::new();
    for (field, value) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', refused.code), (b'M', &refused.why)] {
        fields.push(field);
        fields.extend(value.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [b"E".as_slice(), &length.to_be_bytes(), &fields].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio_postgres::{Client, Config, NoTls};

    use super::*;
    use crate::provision::postgres::foreign::Foreign;

    const SOCKET: &str = ".s.PGSQL.5432";

    struct Guarded {
        folder: tempfile::TempDir,
        _foreign: Foreign,
        gate: Gate,
    }

    impl Guarded {
        async fn open() -> Self {
            crate::app::allow_open_files();
            let foreign = Foreign::start().await;
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
            let gate = Gate::open(&folder.path().join(SOCKET), foreign.socket(), 90).unwrap();
            Self { folder, _foreign: foreign, gate }
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join(SOCKET)
        }

        async fn connect(&self) -> Result<Client, String> {
            let mut config = Config::new();
            config.host_path(self.folder.path()).user("boss").dbname("postgres");
            let (client, connection) = config.connect(NoTls).await.map_err(|error| match error.as_db_error() {
                Some(told) => told.message().to_owned(),
                None => error.to_string(),
            })?;
            tokio::spawn(connection);
            Ok(client)
        }

        async fn connect_at_last(&self) -> Client {
            let begun = std::time::Instant::now();
            loop {
                match self.connect().await {
                    Ok(client) => return client,
                    // The place of one that has just ended is given back a moment later.
                    Err(why) => {
                        assert!(why.contains("all that it may have") && begun.elapsed() < Duration::from_secs(60), "{why}")
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn each_user_has_its_places_and_is_told_when_they_are_taken() {
        let guarded = Guarded::open().await;
        assert_eq!(guarded.connect().await.err().unwrap(), "no parameter of this app asks for a Postgres database");
        let own = rustix::process::geteuid().as_raw();
        guarded.gate.give(own, "app_01", 1);
        guarded.gate.give(own, "app_02", 1);
        let (first, second) = (guarded.connect().await.unwrap(), guarded.connect().await.unwrap());
        let refused = guarded.connect().await.err().unwrap();
        assert_eq!(refused, "this app has 2 connections to Postgres, which is all that it may have");
        // A large answer and a large question.
        let text: String = first.query_one("SELECT repeat('ab', 1000000)", &[]).await.unwrap().get(0);
        let length: i32 = second.query_one("SELECT length($1::text)", &[&text]).await.unwrap().get(0);
        assert_eq!((text.len(), length), (2_000_000, 2_000_000));
        drop(first);
        guarded.connect_at_last().await;
    }

    /// Connects so often as this user, says whom it wants to be, and waits for ever when it is asked for the password.
    fn crowd(socket: PathBuf, uid: u32, count: usize) -> Vec<std::os::unix::net::UnixStream> {
        let crowd = std::thread::spawn(move || {
            let (user, group) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(uid));
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            let wish = b"\0\x03\0\0user\0app_01\0database\0app_01\0\0";
            let wish = [&u32::try_from(wish.len() + 4).unwrap().to_be_bytes(), wish.as_slice()].concat();
            let connect = || {
                let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
                let _ = stream.write_all(&wish);
                stream
            };
            (0..count).map(|_| connect()).collect()
        });
        crowd.join().unwrap()
    }

    #[tokio::test]
    async fn whoever_opens_many_connections_takes_no_place_of_others() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        const GUEST: u32 = 1_800_000_001;
        const STRANGER: u32 = 1_800_000_002;
        let guarded = Guarded::open().await;
        guarded.gate.give(0, "neighbour", 1);
        guarded.gate.give(GUEST, "app_01", 20);
        // More than Postgres has for all.
        let (socket, again) = (guarded.socket(), guarded.socket());
        let held = tokio::task::spawn_blocking(move || (crowd(socket, STRANGER, 400), crowd(again, GUEST, 400))).await.unwrap();
        for _ in 0..10 {
            let neighbour = guarded.connect_at_last().await;
            assert_eq!(neighbour.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
        }
        assert_eq!(lock(&guarded.gate.places)[&GUEST].taken, 20);
        drop(held);
        let begun = std::time::Instant::now();
        while lock(&guarded.gate.places)[&GUEST].taken > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "their places are not given back");
            tokio::task::yield_now().await;
        }
    }
}
