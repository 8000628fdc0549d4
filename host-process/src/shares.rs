//! A bounded number of places for clients that do not trust each other: however few of them take however much, another one gets in.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::{spawn_local, AbortHandle};

#[derive(Clone, Copy)]
pub struct Bounds {
    /// Places in all.
    pub total: usize,
    /// Places of one client.
    pub per_client: usize,
}

/// `T` is what its holder is sent away with.
struct Places<T> {
    bounds: Bounds,
    /// One that may have as many as all together.
    relay: Option<IpAddr>,
    /// Those of each client that has any, oldest first.
    clients: HashMap<IpAddr, BTreeMap<u64, T>>,
    taken: usize,
    next: u64,
}

impl<T> Places<T> {
    fn new(bounds: Bounds, relay: Option<IpAddr>) -> Places<T> {
        Places {
            bounds,
            relay,
            clients: HashMap::new(),
            taken: 0,
            next: 0,
        }
    }

    /// Whether there is a place for the client. When all are taken, whoever has most gives up its oldest one, if that has at least two more.
    fn has_room(&mut self, client: IpAddr, send_away: impl FnOnce(T)) -> bool {
        let own = self.clients.get(&client).map_or(0, BTreeMap::len);
        if own >= self.bounds.per_client && self.relay != Some(client) {
            return false;
        }
        if self.taken < self.bounds.total {
            return true;
        }
        let Some((&most, places)) = self.clients.iter().max_by_key(|(_, places)| places.len()) else {
            return false;
        };
        if places.len() < own + 2 {
            return false;
        }
        let Some(&oldest) = places.keys().next() else {
            return false;
        };
        self.give_back(most, oldest).map(send_away);
        true
    }

    /// Takes a place where there is room, with what is made for its number.
    fn take(&mut self, client: IpAddr, holder: impl FnOnce(u64) -> T) {
        let number = self.next;
        self.next += 1;
        self.taken += 1;
        self.clients.entry(client).or_default().insert(number, holder(number));
    }

    /// None when it was given back already.
    fn give_back(&mut self, client: IpAddr, number: u64) -> Option<T> {
        let places = self.clients.get_mut(&client)?;
        let holder = places.remove(&number)?;
        if places.is_empty() {
            self.clients.remove(&client);
        }
        self.taken -= 1;
        Some(holder)
    }
}

/// Work for clients, each in a place of its own.
pub struct Shares(Rc<RefCell<Places<AbortHandle>>>);

impl Shares {
    /// @param relay a client that divides what it has among others, for which the bound of one does not hold
    pub fn new(bounds: Bounds, relay: Option<IpAddr>) -> Shares {
        Shares(Rc::new(RefCell::new(Places::new(bounds, relay))))
    }

    /// Runs the work beside everything else, or drops it when there is no place for the client. Work that is sent away is dropped where it waits.
    pub fn run(&self, client: IpAddr, work: impl Future + 'static) {
        let mut places = self.0.borrow_mut();
        if !places.has_room(client, |other| other.abort()) {
            return;
        }
        places.take(client, |number| {
            let all = self.0.clone();
            spawn_local(async move {
                work.await;
                all.borrow_mut().give_back(client, number);
            })
            .abort_handle()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn taken(places: &mut Places<u64>, who: u8, away: &mut Vec<u64>) -> Option<u64> {
        if !places.has_room(client(who), |number| away.push(number)) {
            return None;
        }
        let mut got = None;
        places.take(client(who), |number| {
            got = Some(number);
            number
        });
        got
    }

    #[test]
    fn one_client_gets_its_share_and_no_more() {
        let mut places = Places::new(
            Bounds {
                total: 10,
                per_client: 2,
            },
            None,
        );
        let mut away = Vec::new();
        let first = taken(&mut places, 1, &mut away).expect("a place");
        assert!(taken(&mut places, 1, &mut away).is_some());
        assert!(taken(&mut places, 1, &mut away).is_none());
        assert!(places.give_back(client(1), first).is_some());
        assert!(places.give_back(client(1), first).is_none());
        assert!(taken(&mut places, 1, &mut away).is_some());
        assert!(taken(&mut places, 1, &mut away).is_none());
        assert!(away.is_empty());
    }

    #[test]
    fn clients_that_fill_it_make_room_for_another_oldest_first() {
        let mut places = Places::new(
            Bounds {
                total: 6,
                per_client: 4,
            },
            None,
        );
        let mut away = Vec::new();
        for who in [1, 1, 1, 1, 2, 2] {
            assert!(taken(&mut places, who, &mut away).is_some());
        }
        assert!(taken(&mut places, 3, &mut away).is_some());
        assert!(taken(&mut places, 3, &mut away).is_some());
        assert_eq!(away, [0, 1]);
        assert!(taken(&mut places, 3, &mut away).is_none(), "all have the same");
    }

    #[test]
    fn a_relay_gets_more_than_one_client_and_makes_room_all_the_same() {
        let bounds = Bounds {
            total: 4,
            per_client: 1,
        };
        let mut places = Places::new(bounds, Some(client(1)));
        let mut away = Vec::new();
        for _ in 0..4 {
            assert!(taken(&mut places, 1, &mut away).is_some());
        }
        assert!(taken(&mut places, 2, &mut away).is_some());
        assert_eq!(away, [0]);
    }

    /// Whoever takes and gives back whatever: bounds hold, and one that has nothing gets in while there are fewer clients than places.
    #[test]
    fn bounds_hold_in_any_order() {
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..200 {
            let bounds = Bounds {
                total: 8 + random(5) as usize,
                per_client: 1 + random(6) as usize,
            };
            let mut places = Places::new(bounds, None);
            let mut held: HashMap<u8, Vec<u64>> = HashMap::new();
            for _ in 0..200 {
                let who = random(8) as u8;
                if random(2) == 0 {
                    let mut away = Vec::new();
                    let before = held.get(&who).map_or(0, Vec::len);
                    let got = taken(&mut places, who, &mut away);
                    held.values_mut()
                        .for_each(|own| own.retain(|number| !away.contains(number)));
                    assert!(got.is_some() || before > 0);
                    held.entry(who).or_default().extend(got);
                } else if let Some(number) = held.entry(who).or_default().pop() {
                    assert!(places.give_back(client(who), number).is_some());
                }
                assert!(held.values().all(|own| own.len() <= bounds.per_client));
                let all: usize = held.values().map(Vec::len).sum();
                assert!(all <= bounds.total && all == places.taken);
            }
        }
    }
}
