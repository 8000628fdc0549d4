//! What becomes of the head of a request on its way to a host for which there are secret headers. Whatever the two ends could understand in two ways is refused or
//! left out, so that a value goes to the host that it is for and nowhere else.

use http::header::{
    HeaderMap, HeaderName, HeaderValue, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version};

use crate::names::host_name;

/// Of the connection, beside those that have names above.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const WEBSOCKET: &[u8] = b"websocket";
const TRAILERS: &[u8] = b"trailers";

#[derive(Debug, PartialEq)]
pub struct Refusal(pub StatusCode, pub &'static str);

const fn bad(why: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, why)
}

/// Makes it the request that goes on. @param host as `names::host_name` gives it. @returns whether it asks for a WebSocket
pub fn rewrite(parts: &mut Parts, host: &str, secrets: &[(HeaderName, HeaderValue)]) -> Result<bool, Refusal> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "CONNECT is for proxies, and TRACE would show what was put in",
        ));
    }
    check_host(parts, host)?;
    let is_new = parts.version == Version::HTTP_2;
    let is_websocket = !is_new && asks_for_websocket(&parts.headers);
    strip(&mut parts.headers)?;
    parts.headers.remove(EXPECT); // answered here
    for (name, value) in secrets {
        parts.headers.insert(name, value.clone()); // in the place of all that it has
    }
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    parts.uri = if is_new {
        parts.headers.remove(HOST);
        let authority = Authority::try_from(host).map_err(|_| bad("its host is no name"))?;
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(authority)
            .path_and_query(path);
        uri.build().map_err(|_| bad("its target is none"))?
    } else {
        let value = HeaderValue::from_str(host).map_err(|_| bad("its host is no name"))?;
        parts.headers.insert(HOST, value);
        Uri::from(path)
    };
    if is_websocket {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(is_websocket)
}

/// What in a head is about the connection it came over. @errors where that names what is not
pub fn strip(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let named: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for value in named {
        let words = value.to_str().map_err(|_| bad("its Connection header is no text"))?;
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            headers.remove(
                HeaderName::from_bytes(word.as_bytes()).map_err(|_| bad("its Connection header names no header"))?,
            );
        }
    }
    let has_trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(TRAILERS));
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH); // the other one says how long the body is (RFC 9112, 6.3)
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if has_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers")); // gRPC asks for it
    }
    Ok(())
}

/// Every place that names a host must name this one, and one must.
fn check_host(parts: &Parts, host: &str) -> Result<(), Refusal> {
    let elsewhere = || {
        let why = "it is for another host than its connection: each has one of its own";
        Refusal(StatusCode::MISDIRECTED_REQUEST, why)
    };
    if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(bad("its target is none of HTTPS"));
    }
    let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut headers = parts.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let header = headers.next();
    if headers.next().is_some() {
        return Err(bad("it has two Host headers"));
    }
    if target.is_none() && header.is_none() {
        return Err(bad("it does not say which host it is for"));
    }
    for named in target.into_iter().chain(header) {
        let name = named.strip_suffix(b":443").unwrap_or(named);
        if host_name(name).as_deref() != Some(host) {
            return Err(elsewhere());
        }
    }
    Ok(())
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let mut named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let upgrades = named.any(|words| words.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")));
    let to = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    upgrades && to.is_some_and(|protocol| protocol.eq_ignore_ascii_case(WEBSOCKET))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn secrets() -> Vec<(HeaderName, HeaderValue)> {
        vec![(
            HeaderName::from_static("authorization"),
            HeaderValue::from_static("value"),
        )]
    }

    fn rewritten(version: Version, uri: &str, headers: &[(&str, &str)]) -> Result<(Parts, bool), Refusal> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        let is_websocket = rewrite(&mut parts, "a.test", &secrets())?;
        Ok((parts, is_websocket))
    }

    fn text(parts: &Parts, name: &str) -> Vec<String> {
        let values = parts.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn a_value_is_put_in_the_place_of_whatever_was_there() {
        let given = [
            ("host", "A.test:443"),
            ("authorization", "placeholder"),
            ("Authorization", "more"),
            ("x", "y"),
        ];
        let (parts, is_websocket) = rewritten(Version::HTTP_11, "/p?q", &given).expect("a request");
        assert_eq!(text(&parts, "authorization"), ["value"]);
        assert_eq!(
            (text(&parts, "host"), text(&parts, "x")),
            (vec!["a.test".to_owned()], vec!["y".to_owned()])
        );
        assert_eq!((parts.uri.to_string(), is_websocket), ("/p?q".to_owned(), false));
        let (parts, _) = rewritten(Version::HTTP_2, "https://a.test/p", &[("te", "trailers")]).expect("a request");
        assert_eq!(text(&parts, "authorization"), ["value"]);
        assert_eq!(
            (text(&parts, "te"), text(&parts, "host")),
            (vec!["trailers".to_owned()], vec![])
        );
        assert_eq!(parts.uri.to_string(), "https://a.test/p");
    }

    #[test]
    fn what_is_for_another_host_goes_nowhere() {
        let old: [(&str, &[(&str, &str)]); 8] = [
            ("/", &[("host", "b.test")]),
            ("/", &[("host", "a.test:8443")]),
            ("/", &[("host", "a.test"), ("host", "a.test")]),
            ("/", &[("host", "x.a.test")]),
            ("/", &[("host", "b.test@a.test")]),
            ("/", &[]),
            ("https://b.test/", &[("host", "a.test")]),
            ("http://a.test/", &[("host", "a.test")]),
        ];
        for (uri, headers) in old {
            assert!(rewritten(Version::HTTP_11, uri, headers).is_err(), "{uri} {headers:?}");
        }
        assert!(rewritten(Version::HTTP_2, "https://b.test/", &[]).is_err());
        assert!(rewritten(Version::HTTP_2, "https://a.test/", &[("host", "b.test")]).is_err());
        assert!(rewritten(Version::HTTP_2, "https://a.test/", &[("host", "a.test")]).is_ok());
    }

    #[test]
    fn what_is_of_the_connection_stays_behind() {
        let given = [
            ("host", "a.test"),
            ("connection", "close, X-Hop, authorization"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("expect", "100-continue"),
        ];
        let (parts, is_websocket) = rewritten(Version::HTTP_11, "/", &given).expect("a request");
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!((left, is_websocket), (vec!["authorization", "host"], false));
        let given = [
            ("host", "a.test"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ];
        let (parts, is_websocket) = rewritten(Version::HTTP_11, "/", &given).expect("a request");
        assert_eq!(
            (text(&parts, "upgrade"), is_websocket),
            (vec!["websocket".to_owned()], true)
        );
    }

    #[test]
    fn methods_that_show_or_pass_are_refused() {
        for method in ["TRACE", "CONNECT"] {
            let request = Request::builder().method(method).uri("/").header("host", "a.test");
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            let refusal = rewrite(&mut parts, "a.test", &secrets()).expect_err("a refusal");
            assert_eq!(refusal.0, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}
