//! Who is connected, and who gets a place.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::Notify;

use super::{
    Config,
    watch::{Busy, Connection},
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
    of_client: HashMap<Client, usize>,
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
        if places.taken.len() >= self.max {
            return Err(NoPlace::Full);
        }
        if let Some(client) = client {
            let has = places.of_client.get(&client).copied().unwrap_or(0);
            if has >= self.max_per_client && !places.close_longest_idle(Some(client)) {
                return Err(NoPlace::OfClient);
            }
            *places.of_client.entry(client).or_insert(0) += 1;
        }
        places.next += 1;
        let (number, connection) = (places.next, Arc::new(Connection::new()));
        places.taken.insert(number, (client, connection.clone()));
        drop(places);
        Ok(Place { table: self.clone(), number, connection })
    }

    /// Closes the connection that has been idle for longest; says whether there is one.
    pub(super) fn close_longest_idle(&self) -> bool {
        self.lock().close_longest_idle(None)
    }

    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Place {
    /// Counts something that goes on in the connection, and waits for the server.
    pub(crate) fn enter(&self) -> Busy {
        self.connection.enter(false)
    }
}

impl Places {
    /// Only looked for when there is no place left, so going through all of them is cheap enough.
    fn close_longest_idle(&self, of: Option<Client>) -> bool {
        let candidates = self.taken.values().filter(|(client, _)| of.is_none() || *client == of);
        let idle = candidates.filter_map(|(_, connection)| Some((connection.idle_since()?, connection)));
        let longest = idle.min_by_key(|(since, _)| *since);
        longest.is_some_and(|(_, connection)| {
            connection.give_way();
            true
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.table.lock();
        if let Some((Some(client), _)) = places.taken.remove(&self.number)
            && let Some(count) = places.of_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                places.of_client.remove(&client);
            }
        }
        drop(places);
        self.table.freed.notify_one();
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
        // It has had a request since, and is the youngest now.
        drop(mine.connection.enter(false));
        assert_eq!(take(&table, "198.51.100.3").err(), Some(NoPlace::Full));
        assert!(table.close_longest_idle());
        assert!(gave_way(&other));
        drop(other);
        // A client that has too many closes one of its own.
        let fourth = take(&table, "198.51.100.1").unwrap();
        assert!(gave_way(&younger) && !gave_way(&mine));
        // What is closing already is not counted on twice, and what is busy never.
        drop(younger);
        assert!(table.close_longest_idle() && gave_way(&mine));
        assert!(table.close_longest_idle() && gave_way(&fourth));
        assert!(!table.close_longest_idle());
        drop(request);
        assert!(table.close_longest_idle() && gave_way(&busy));
    }
}
