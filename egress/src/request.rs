//! The head of an HTTP/1 request (RFC 9112), read strictly: what two readers could understand in two ways is refused.

use crate::names::host_name;

pub const MAX_HEAD: usize = 16 << 10;
const END: &[u8] = b"\r\n\r\n";
/// What concerns the connection to the proxy alone, or would make another protocol of it.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "proxy-connection", "keep-alive", "upgrade"];

#[derive(Debug, PartialEq)]
pub enum Body {
    Length(u64),
    Chunked,
}

#[derive(Debug, PartialEq)]
pub struct Request {
    /// The host it is for, as `names::host_name` gives it.
    pub host: String,
    /// The head as it goes on: of a request after which its connection ends.
    pub head: Vec<u8>,
    pub body: Body,
    /// Bytes that the head had.
    pub length: usize,
}

/// The request that begins there; none while more of its head is to come. @errors with what is wrong with it
pub fn request(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let end = bytes.windows(END.len()).take(MAX_HEAD).position(|window| window == END);
    let Some(end) = end else {
        return match bytes.len() {
            0..=MAX_HEAD => Ok(None),
            _ => Err("its head is too long"),
        };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "its head is no text")?;
    if text.bytes().any(|byte| byte == 0 || byte == 0x7f) {
        return Err("its head is no text");
    }
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let (target, is_old) = request_line(first)?;
    let mut head = format!("{first}\r\n");
    let mut host = None;
    let mut lengths = Vec::new();
    let mut codings = Vec::new();
    for line in lines {
        let (name, value) = header(line)?;
        match name.as_str() {
            "host" if host.is_some() => return Err("it has two Host headers"),
            "host" => host = Some(host_of(value)?),
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            _ => {}
        }
        if !OF_THE_CONNECTION.contains(&name.as_str()) {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    let host = host.ok_or("it has no Host header")?;
    if let Some(named) = target {
        if host_of(named)? != host {
            return Err("its target is another host than its Host header");
        }
    }
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Body::Length(0),
        ([length], []) if (1..=18).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Body::Length(length.parse().map_err(|_| "its Content-Length is no length")?)
        }
        ([], [coding]) if !is_old && coding.eq_ignore_ascii_case("chunked") => Body::Chunked,
        _ => return Err("the length of its body is not clear"),
    };
    Ok(Some(Request {
        host,
        head: head.into_bytes(),
        body,
        length: end + END.len(),
    }))
}

/// The host in the target, where one is there, and whether it is HTTP/1.0.
fn request_line(line: &str) -> Result<(Option<&str>, bool), &'static str> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err("its first line is none of HTTP");
    };
    if !is_token(method) || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its first line is none of HTTP");
    }
    let is_old = match *version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err("it is not HTTP/1"),
    };
    if *method == "CONNECT" {
        return Err("CONNECT is for proxies");
    }
    if target.starts_with('/') || *target == "*" {
        return Ok((None, is_old));
    }
    let rest = target
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("http://"))
        .map(|_| &target[7..]);
    let rest = rest.ok_or("its target is none of HTTP")?;
    Ok((rest.split(['/', '?', '#']).next(), is_old))
}

/// A header's name in lower case, and its value.
fn header(line: &str) -> Result<(String, &str), &'static str> {
    let (name, value) = line.split_once(':').ok_or("it has a header without a name")?;
    if !is_token(name) {
        return Err("it has a header with no proper name");
    }
    let value = value.trim_matches([' ', '\t'].as_slice());
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
        return Err("it has a header with control characters");
    }
    Ok((name.to_ascii_lowercase(), value))
}

fn is_token(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(fits)
}

/// Of `host` or `host:80`.
fn host_of(value: &str) -> Result<String, &'static str> {
    let host = match value.split_once(':') {
        None => value,
        Some((host, "80")) => host,
        Some(_) => return Err("its host has another port than 80"),
    };
    host_name(host.as_bytes()).ok_or("its host is no name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<Request>, &'static str> {
        request(text.as_bytes())
    }

    #[test]
    fn a_request_goes_on_as_the_last_of_its_connection() {
        let head = "POST /x?y HTTP/1.1\r\nHost: Example.com:80\r\nConnection: keep-alive\r\nUpgrade: h2c\r\nContent-Length: 5\r\nA: b\r\n\r\n";
        let found = of(&format!("{head}12345")).expect("a request").expect("whole");
        assert_eq!(
            (found.host.as_str(), &found.body, found.length),
            ("example.com", &Body::Length(5), head.len())
        );
        assert_eq!(
            String::from_utf8(found.head).expect("text"),
            "POST /x?y HTTP/1.1\r\nHost: Example.com:80\r\nContent-Length: 5\r\nA: b\r\nConnection: close\r\n\r\n"
        );
        for cut in 0..head.len() {
            assert_eq!(of(&head[..cut]), Ok(None));
        }
        let chunked = of("PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\r\n\r\n");
        assert_eq!(chunked.expect("a request").expect("whole").body, Body::Chunked);
        let absolute = of("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(absolute.expect("a request").expect("whole").host, "a.test");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\r\n b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\nHost: b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\rHost: b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test,b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test:8080\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
            "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET b.test HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET /\r\nHost: a.test\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(of(text).is_err(), "{text:?}");
        }
        assert!(of(&format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD))).is_err());
    }
}
