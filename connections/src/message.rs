//! Messages of netlink(7) and the attributes in them, as far as `table.rs` needs them. What comes is the kernel's; its lengths are looked at all the same.

/// Of a message: length, type, flags, number, sender.
const HEADER: usize = 16;
/// Of an attribute: length and type.
const ATTRIBUTE: usize = 4;
/// Both begin where this divides.
const ALIGNED: usize = 4;
/// Of the type of an attribute: it holds others.
const NESTED: u16 = 1 << 15;
const KIND: u16 = 0x3fff;

const fn aligned(length: usize) -> usize {
    (length + ALIGNED - 1) & !(ALIGNED - 1)
}

/// A message that came.
pub struct Message<'a> {
    pub kind: u16,
    pub number: u32,
    pub body: &'a [u8],
}

/// The messages of what was received at once.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(part(bytes, 0)?) as usize;
        let message = Message {
            kind: u16::from_ne_bytes(part(bytes, 4)?),
            number: u32::from_ne_bytes(part(bytes, 8)?),
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(aligned(length)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attribute of this kind: what it holds.
pub fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(part(bytes, 0)?));
        let kind = u16::from_ne_bytes(part(bytes, 2)?) & KIND;
        let payload = bytes.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(payload);
        }
        bytes = bytes.get(aligned(length)..)?;
    }
}

pub fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// A message with these bytes.
pub fn message(kind: u16, flags: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut made = length.to_ne_bytes().to_vec();
    made.extend(kind.to_ne_bytes());
    made.extend(flags.to_ne_bytes());
    made.extend(number.to_ne_bytes());
    made.extend([0; 4]); // to the kernel, which knows who sends
    made.extend(body);
    made
}

pub fn with(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut made = ((ATTRIBUTE + payload.len()) as u16).to_ne_bytes().to_vec();
    made.extend(kind.to_ne_bytes());
    made.extend(payload);
    made.resize(aligned(made.len()), 0);
    made
}

pub fn nesting(kind: u16, attributes: &[u8]) -> Vec<u8> {
    with(kind | NESTED, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let body = [with(3, &[1, 2, 3]), nesting(4, &with(1, &[9]))].concat();
        let both = [message(7, 1, 5, &body), message(8, 0, 6, &[])].concat();
        let read: Vec<Message> = messages(&both).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].number), (7, 5));
        assert_eq!(attribute(read[0].body, 3), Some(&[1, 2, 3][..]));
        assert_eq!(attribute(attribute(read[0].body, 4).unwrap(), 1), Some(&[9][..]));
        assert_eq!(attribute(read[0].body, 5), None);
    }

    #[test]
    fn lengths_that_are_wrong_end_it() {
        assert_eq!(attribute(&[2, 0, 1, 0, 0, 0, 0, 0], 1), None);
        assert_eq!(attribute(&[0, 0, 1, 0], 2), None);
        assert_eq!(attribute(&[200, 0, 1, 0], 1), None);
        assert_eq!(messages(&[0; 16]).count(), 0);
        assert_eq!(messages(&[255; 20]).count(), 0);
        assert_eq!(messages(&[1, 2]).count(), 0);
    }
}
