//! When this sandbox began, as the clock of its files says: whatever is changed in it is changed later.

use crate::sys;

pub struct Clock {
    begun: i128,
    since: i128,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            begun: read(libc::CLOCK_REALTIME_COARSE),
            since: read(libc::CLOCK_BOOTTIME),
        }
    }

    /// Seconds after 1970 with nine decimals. A clock that was put back since makes it earlier, so that nothing has changed before it.
    pub fn begun(&self) -> String {
        let now = read(libc::CLOCK_REALTIME_COARSE) - (read(libc::CLOCK_BOOTTIME) - self.since);
        let begun = now.min(self.begun).max(0);
        format!("{}.{:09}", begun / NANOSECONDS, begun % NANOSECONDS)
    }
}

const NANOSECONDS: i128 = 1_000_000_000;

fn read(clock: libc::clockid_t) -> i128 {
    let time = sys::time(clock);
    i128::from(time.tv_sec) * NANOSECONDS + i128::from(time.tv_nsec)
}
