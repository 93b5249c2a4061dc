//! Who is connected, and who gets a place.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::{Notify, futures::Notified};

use super::{
    Config,
    watch::{Busy, Connection, Share},
};

/// Whose connections are counted together: an address of IPv4, a /64 of IPv6, which is what one customer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Client {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Table {
    max: usize,
    max_per_client: usize,
    /// These speak for many clients.
    trusted: Vec<IpNet>,
    places: Mutex<Places>,
    /// Told when a place has become free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, (Option<Client>, Arc<Connection>)>,
    of_client: HashMap<Client, Arc<Share>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Table>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All are taken.
    Full,
    /// All are taken, and the client has as many as one may have: one of its own is closing.
    Closing,
    /// The client has as many as one may have, and a request is under way in each.
    OfClient,
}

impl Table {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            max: config.max_connections.max(1),
            max_per_client: config.max_connections_per_client.max(1),
            trusted: config.trusted_proxies.clone(),
            places: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address. Where the client has too many, its longest idle one is closed.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let address = address.to_canonical();
        let client = (!self.trusted.iter().any(|net| net.contains(&address))).then(|| Client::of(address));
        let mut places = self.lock();
        let full = places.taken.len() >= self.max;
        // The client's own limit comes first, so that nobody else's connection is closed for one that has too many.
        let share = client.map(|client| match places.of_client.get(&client) {
            Some(share) => share.clone(),
            None => Share::new(self.max_per_client),
        });
        if share.as_ref().is_some_and(|share| share.is_used_up()) {
            let closing = full && places.is_one_leaving(client);
            if !closing && !places.close_longest_idle(client) {
                return Err(NoPlace::OfClient);
            }
            if full {
                return Err(NoPlace::Closing);
            }
        }
        if full {
            return Err(NoPlace::Full);
        }
        if let (Some(client), Some(share)) = (client, &share) {
            share.connects();
            places.of_client.entry(client).or_insert_with(|| share.clone());
        }
        places.next += 1;
        let (number, connection) = (places.next, Arc::new(Connection::new(share)));
        places.taken.insert(number, (client, connection.clone()));
        drop(places);
        Ok(Place { table: self.clone(), number, connection })
    }

    /// Closes the connection that has been idle for longest, unless one is closing already; says whether there is one.
    pub(super) fn make_room(&self) -> bool {
        let places = self.lock();
        places.is_one_leaving(None) || places.close_longest_idle(None)
    }

    /// Resolves when a place becomes free.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }
}

impl Place {
    /// How many requests one client may have at one time, if this one has more.
    pub(crate) fn has_too_many(&self) -> Option<usize> {
        self.connection.has_too_many()
    }

    /// The connection carries another protocol from now on, for as long as what is returned lives.
    pub(crate) fn becomes_tunnel(&self) -> Busy {
        self.connection.becomes_tunnel();
        self.connection.enter(false)
    }
}

impl Places {
    /// Only looked for when there is no place left, so going through all of them is cheap enough.
    fn close_longest_idle(&self, of: Option<Client>) -> bool {
        let idle = self.of(of).filter_map(|connection| Some(((connection.is_young(), connection.idle_since()?), connection)));
        let longest = idle.min_by_key(|(order, _)| *order);
        longest.is_some_and(|(_, connection)| {
            connection.give_way();
            true
        })
    }

    fn is_one_leaving(&self, of: Option<Client>) -> bool {
        self.of(of).any(|connection| connection.is_leaving())
    }

    fn of(&self, of: Option<Client>) -> impl Iterator<Item = &Arc<Connection>> {
        self.taken.values().filter(move |(client, _)| of.is_none() || *client == of).map(|(_, connection)| connection)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.table.lock();
        if let Some((Some(client), _)) = places.taken.remove(&self.number)
            && places.of_client.get(&client).is_some_and(|share| share.disconnects())
        {
            places.of_client.remove(&client);
        }
        drop(places);
        self.table.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(max: usize, max_per_client: usize) -> Arc<Table> {
        let trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
        Table::new(&Config {
            max_connections: max,
            max_connections_per_client: max_per_client,
            trusted_proxies,
            ..Config::new("test")
        })
    }

    fn take(table: &Arc<Table>, address: &str) -> Result<Place, NoPlace> {
        table.take(address.parse().unwrap())
    }

    #[test]
    fn a_client_is_an_address_or_a_64() {
        let table = table(100, 2);
        for addresses in [
            ["198.51.100.1", "198.51.100.1", "::ffff:198.51.100.1"],
            ["2001:db8::1", "2001:db8::2:0:0:1", "2001:db8:0:0:ffff::"],
            ["127.0.0.1", "127.0.0.1", "127.0.0.1"],
        ] {
            let places = [take(&table, addresses[0]).unwrap(), take(&table, addresses[1]).unwrap()];
            let _busy = places.each_ref().map(|place| place.connection.enter(false));
            assert_eq!(take(&table, addresses[2]).err(), Some(NoPlace::OfClient), "{addresses:?}");
            let _other = [take(&table, "2001:db8:0:1::1").unwrap(), take(&table, "198.51.100.2").unwrap()];
        }
        assert!(table.lock().taken.is_empty() && table.lock().of_client.is_empty());
    }

    #[test]
    fn a_trusted_proxy_is_many_clients() {
        let table = table(3, 1);
        let places: Vec<_> = (0..3).map(|_| take(&table, "192.0.2.7").unwrap()).collect();
        assert_eq!(take(&table, "192.0.2.8").err(), Some(NoPlace::Full));
        drop(places);
        take(&table, "192.0.2.8").unwrap();
    }

    #[test]
    fn the_longest_idle_one_gives_way() {
        let table = table(4, 3);
        let gave_way = |place: &Place| place.connection.is_idle() && place.connection.idle_since().is_none();
        let (mine, busy) = (take(&table, "198.51.100.1").unwrap(), take(&table, "198.51.100.1").unwrap());
        let request = busy.connection.enter(false);
        let (other, younger) = (take(&table, "198.51.100.2").unwrap(), take(&table, "198.51.100.1").unwrap());
        for place in [&other, &younger] {
            drop(place.connection.enter(false));
        }
        // It has had a request since, and is the youngest now.
        drop(mine.connection.enter(false));
        assert_eq!(take(&table, "198.51.100.3").err(), Some(NoPlace::Full));
        assert!(table.make_room());
        assert!(gave_way(&other));
        // One place is needed, so one is closed.
        assert!(table.make_room() && !gave_way(&mine) && !gave_way(&younger));
        drop(other);
        // A client that has too many closes one of its own.
        let fourth = take(&table, "198.51.100.1").unwrap();
        assert!(gave_way(&younger) && !gave_way(&mine));
        // What is closing already is not counted on twice, and what is busy never.
        drop(younger);
        assert!(table.make_room() && gave_way(&mine));
        drop(mine);
        assert!(table.make_room() && gave_way(&fourth));
        drop(fourth);
        assert!(!table.make_room());
        drop(request);
        assert!(table.make_room() && gave_way(&busy));
    }

    #[test]
    fn a_client_that_has_too_many_closes_none_of_the_others() {
        let table = table(3, 2);
        let gave_way = |place: &Place| place.connection.is_leaving();
        let other = take(&table, "198.51.100.2").unwrap();
        drop(other.connection.enter(false));
        let mine = [take(&table, "198.51.100.1").unwrap(), take(&table, "198.51.100.1").unwrap()];
        let busy = mine.each_ref().map(|place| place.connection.enter(false));
        assert_eq!(take(&table, "198.51.100.1").err(), Some(NoPlace::OfClient));
        drop(busy);
        for _ in 0..3 {
            assert_eq!(take(&table, "198.51.100.1").err(), Some(NoPlace::Closing));
            assert!(gave_way(&mine[0]) && !gave_way(&mine[1]) && !gave_way(&other));
        }
    }

    #[test]
    fn requests_of_http_2_count_as_connections_do() {
        let table = table(100, 4);
        let places = [take(&table, "198.51.100.1").unwrap(), take(&table, "198.51.100.1").unwrap()];
        let enter = |at: usize| places[at].connection.enter(true);
        let mut busy = vec![enter(0), enter(0), enter(0), enter(1)];
        assert_eq!(places[1].has_too_many(), None);
        assert_eq!(take(&table, "198.51.100.1").err(), Some(NoPlace::OfClient));
        busy.push(enter(1));
        assert!(places.iter().all(|place| place.has_too_many() == Some(4)));
        let other = take(&table, "198.51.100.2").unwrap();
        let proxy = take(&table, "192.0.2.7").unwrap();
        let _many: Vec<_> = (0..10).map(|_| proxy.connection.enter(true)).collect();
        assert_eq!((other.has_too_many(), proxy.has_too_many()), (None, None));
        // In whatever order they end.
        drop(busy);
        let _three = take(&table, "198.51.100.1").unwrap();
        take(&table, "198.51.100.1").unwrap();
    }

    #[test]
    fn a_new_connection_has_time_for_its_first_request() {
        let table = table(2, 2);
        let (new, idle) = (take(&table, "198.51.100.1").unwrap(), take(&table, "198.51.100.2").unwrap());
        drop(idle.connection.enter(false));
        assert!(table.make_room() && idle.connection.is_leaving() && !new.connection.is_leaving());
        drop(idle);
        // It goes where there is no other one.
        assert!(table.make_room() && new.connection.is_leaving());
    }

    #[test]
    fn a_connection_whose_answer_is_not_written_is_not_idle() {
        let table = table(1, 1);
        let place = take(&table, "198.51.100.1").unwrap();
        drop(place.connection.enter(false));
        place.connection.cannot_write();
        assert!(!table.make_room());
        place.connection.writes();
        assert!(table.make_room() && place.connection.is_leaving());
    }
}
