//! What is read of DNS messages (RFC 1035), which come from strangers: the name of a question, and records.

/// Bytes of a message's header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// Type A and class IN, as they stand behind a name.
pub const IPV4_ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// The labels of the name that begins behind the header, without pointers, and where it ends.
pub fn question_labels(message: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let mut labels = Vec::new();
    let mut size = 0; // of the name, with dots
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels, at));
        }
        if length > 63 || size + length > 254 {
            return None;
        }
        size += usize::from(!labels.is_empty()) + length;
        labels.push(message.get(at..at + length)?);
        at += length;
    }
}

pub struct Record<'a> {
    /// Where the next one begins.
    pub end: usize,
    /// Type and class, as `IPV4_ADDRESS` has them.
    pub kind: [u8; 4],
    /// Seconds.
    pub ttl: u32,
    pub data: &'a [u8],
}

/// The record that begins there. None where it does not end.
pub fn read_record(message: &[u8], start: usize) -> Option<Record<'_>> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += match length {
            0 => 1,
            1..=63 => {
                at += length + 1;
                continue;
            }
            0xc0.. => 2, // a pointer ends it
            _ => return None,
        };
        break;
    }
    let fixed: &[u8; 10] = message.get(at..at + 10)?.try_into().ok()?;
    let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *fixed;
    let data_at = at + 10;
    let end = data_at + usize::from(u16::from_be_bytes([l0, l1]));
    Some(Record {
        end,
        kind: [k0, k1, c0, c1],
        ttl: u32::from_be_bytes([t0, t1, t2, t3]),
        data: message.get(data_at..end)?,
    })
}
