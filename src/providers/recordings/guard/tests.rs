//! Spellings and ranges that the guard has to see through.

use std::net::SocketAddr;

use rstest::rstest;

use super::*;

fn guard(allow_private: bool, hosts: &[&str]) -> Guard {
    let allowed_hosts = hosts
        .iter()
        .map(|text| match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => {
                AllowedHost { host: host.to_owned(), port: port.parse().ok() }
            }
            _ => AllowedHost { host: (*text).to_owned(), port: None },
        })
        .collect();
    Guard { allowed_hosts, allow_private }
}

#[rstest]
#[case("https://media.example.com/a.mp3?x=1")]
#[case("https://media.example.com:443/a")]
#[case("https://MEDIA.example.COM/a")]
#[case("https://media.example.com./a")]
#[case("https://ｍedia.example.com/a")]
#[case("  https://media.example.com/a\n")]
#[case("https://other.example.com:8443/a")]
#[case("https://8.8.8.8/a")]
#[case("https://0x08080808/a")]
#[case("https://[2606:4700::1111]/a")]
fn permitted(#[case] url: &str) {
    let guard = guard(false, &["media.example.com", "other.example.com:8443", "8.8.8.8", "[2606:4700::1111]"]);
    guard.check(url).unwrap();
}

#[rstest]
#[case("", "not_a_url")]
#[case("call-0001.mp3", "not_a_url")]
#[case("/var/lib/x.mp3", "not_a_url")]
#[case("https://", "not_a_url")]
#[case("data:audio/wav;base64,AAAA", "not_a_url")]
#[case("https://media.example.com:99999/", "not_a_url")]
#[case("file:///etc/passwd", "not_a_url")]
#[case("https://[fe80::1%25eth0]/", "not_a_url")]
#[case("file://media.example.com/etc/passwd", "refused_url")]
#[case("http://media.example.com/a", "refused_url")]
#[case("ftp://media.example.com/a", "refused_url")]
#[case("https://user@media.example.com/a", "refused_url")]
#[case("https://user:word@media.example.com/a", "refused_url")]
#[case("https://media.example.com@evil.example/a", "refused_url")]
#[case("https://evil.example/a", "refused_host")]
#[case("https://evil.example\\@media.example.com/a", "refused_host")]
#[case("https://evil.example#@media.example.com/a", "refused_host")]
#[case("https://media.example.com.evil.example/a", "refused_host")]
#[case("https://xmedia.example.com/a", "refused_host")]
#[case("https://media.example.com:8443/a", "refused_host")]
#[case("https://localhost/a", "refused_host")]
#[case("https://8.8.4.4/a", "refused_host")]
#[case("https://127.0.0.1/", "private_address")]
#[case("https://127.0.0.1./", "private_address")]
#[case("https://127.1/", "private_address")]
#[case("https://0177.0.0.1/", "private_address")]
#[case("https://2130706433/", "private_address")]
#[case("https://0x7f000001/", "private_address")]
#[case("https://１２７.０.０.１/", "private_address")]
#[case("https://127。0。0。1/", "private_address")]
#[case("https://0.0.0.0/", "private_address")]
#[case("https://0/", "private_address")]
#[case("https://[::1]/", "private_address")]
#[case("https://[::]/", "private_address")]
#[case("https://[::ffff:7f00:1]/", "private_address")]
#[case("https://[::ffff:8.8.8.8]/", "private_address")]
#[case("https://[64:ff9b::808:808]/", "private_address")]
#[case("http://169.254.169.254/latest/meta-data/", "private_address")]
fn refused_urls(#[case] url: &str, #[case] class: &str) {
    let error = guard(false, &["media.example.com"]).check(url).unwrap_err();
    assert_eq!((error.fault, error.class.as_str()), (Fault::Permanent, class), "{error}");
}

#[rstest]
#[case("http://127.0.0.1:9000/a", None)]
#[case("http://[::1]:9000/a", None)]
#[case("http://localhost:9000/a", None)]
#[case("http://media.example.com/a", None)]
#[case("https://media.example.com/a", None)]
#[case("http://127.0.0.1:9001/a", Some("refused_host"))]
#[case("http://127.0.0.2:9000/a", Some("refused_host"))]
#[case("http://127.0.0.1/a", Some("refused_host"))]
#[case("http://user@127.0.0.1:9000/a", Some("refused_url"))]
#[case("ftp://127.0.0.1:9000/a", Some("refused_url"))]
fn private_addresses_when_permitted(#[case] url: &str, #[case] class: Option<&str>) {
    let guard = guard(true, &["127.0.0.1:9000", "[::1]:9000", "localhost:9000", "media.example.com"]);
    assert_eq!(guard.check(url).err().map(|error| error.class.as_str()), class);
}

#[test]
fn private_literals_are_refused_even_when_listed() {
    assert_eq!(guard(false, &["127.0.0.1"]).check("https://127.0.0.1/").unwrap_err().class.as_str(), "private_address");
}

#[rstest]
#[case("https://b.example/x", None)]
#[case("/x", None)]
#[case("//b.example/x", None)]
#[case("https://c.example/x", Some("refused_host"))]
#[case("https://u@b.example/x", Some("refused_url"))]
#[case("http://a.example/x", Some("refused_redirect"))]
#[case("file:///etc/passwd", Some("refused_redirect"))]
#[case("https://[bad/x", Some("refused_redirect"))]
fn redirects_pass_the_same_guard(#[case] location: &str, #[case] class: Option<&str>) {
    let guard = guard(true, &["a.example", "b.example"]);
    let from = guard.check("https://a.example/start").unwrap();
    assert_eq!(guard.follow(&from, location).err().map(|error| error.class.as_str()), class);
}

#[rstest]
#[case("https://a.example/1", "https://a.example:443/2", true)]
#[case("https://a.example/1", "https://a.example:444/2", false)]
#[case("https://a.example/1", "https://b.example/1", false)]
#[case("http://a.example/1", "https://a.example/1", false)]
fn origins(#[case] a: &str, #[case] b: &str, #[case] expected: bool) {
    assert_eq!(same_origin(&a.parse().unwrap(), &b.parse().unwrap()), expected);
}

#[rstest]
#[case("0.1.2.3")]
#[case("10.255.255.255")]
#[case("100.64.0.1")]
#[case("100.127.255.255")]
#[case("127.255.255.254")]
#[case("169.254.169.254")]
#[case("172.16.0.1")]
#[case("172.31.255.255")]
#[case("192.0.0.8")]
#[case("192.0.2.1")]
#[case("192.88.99.1")]
#[case("192.168.1.1")]
#[case("198.19.255.255")]
#[case("198.51.100.7")]
#[case("203.0.113.7")]
#[case("224.0.0.1")]
#[case("239.255.255.255")]
#[case("240.0.0.1")]
#[case("255.255.255.255")]
#[case("::")]
#[case("::1")]
#[case("::ffff:8.8.8.8")]
#[case("::8.8.8.8")]
#[case("64:ff9b::808:808")]
#[case("64:ff9b:1::1")]
#[case("100::1")]
#[case("2001::1")]
#[case("2001:1ff::1")]
#[case("2001:db8::1")]
#[case("2002:7f00:1::1")]
#[case("3fff:0fff::1")]
#[case("4000::1")]
#[case("5f00::1")]
#[case("fc00::1")]
#[case("fd12::1")]
#[case("fe80::1")]
#[case("fec0::1")]
#[case("ff02::1")]
fn special_addresses(#[case] address: &str) {
    assert!(!is_global(address.parse().unwrap()));
}

#[rstest]
#[case("1.1.1.1")]
#[case("9.255.255.255")]
#[case("11.0.0.0")]
#[case("100.63.255.255")]
#[case("100.128.0.0")]
#[case("172.15.255.255")]
#[case("172.32.0.0")]
#[case("192.0.1.1")]
#[case("192.167.255.255")]
#[case("198.17.255.255")]
#[case("198.20.0.0")]
#[case("223.255.255.255")]
#[case("2001:200::1")]
#[case("2606:4700::1111")]
#[case("2a00:1450::1")]
#[case("3ffe::1")]
fn global_addresses(#[case] address: &str) {
    assert!(is_global(address.parse().unwrap()));
}

struct Fixed(Vec<IpAddr>);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Vec<_> = self.0.iter().map(|address| SocketAddr::new(*address, 0)).collect();
        Box::pin(async move { Ok(Box::new(addresses.into_iter()) as Addrs) })
    }
}

#[rstest]
#[case(&["93.184.215.14"], false, Ok(1))]
#[case(&["93.184.215.14", "2606:4700::1111"], false, Ok(2))]
#[case(&["93.184.215.14", "10.0.0.1"], false, Err("the name has a private address"))]
#[case(&["::1"], false, Err("the name has a private address"))]
#[case(&["::1", "10.0.0.1"], true, Ok(2))]
#[case(&[], true, Err("the name has no address"))]
#[tokio::test]
async fn every_address_of_a_name_is_checked(
    #[case] addresses: &[&str],
    #[case] allow_private: bool,
    #[case] expected: Result<usize, &str>,
) {
    let inner = Arc::new(Fixed(addresses.iter().map(|address| address.parse().unwrap()).collect()));
    let resolver = GuardedResolver { inner, allow_private };
    let got = resolver.resolve("a.example".parse().unwrap()).await;
    assert_eq!(got.map(Iterator::count).map_err(|error| error.to_string()), expected.map_err(str::to_owned));
}
