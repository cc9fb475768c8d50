use rstest::rstest;
use serde_json::json;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/fixtures/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("the fixture is there")
}

fn parsed(body: &Value) -> Result<Event, Rejection> {
    parse(body.to_string().as_bytes())
}

/// A sound body with one field of `data` set.
fn with(name: &str, value: Value) -> Value {
    let mut body: Value = serde_json::from_slice(&fixture("mock_call")).unwrap();
    body["data"][name] = value;
    body
}

fn call_with(name: &str, value: Value) -> NewCall {
    match parsed(&with(name, value.clone())) {
        Ok(Event::CallEnded(call)) => call,
        other => panic!("{name} = {value}: {other:?}"),
    }
}

fn rejected_field(body: &Value) -> String {
    parsed(body).expect_err("a rejection").field
}

#[test]
fn the_everyday_call() {
    let Ok(Event::CallEnded(call)) = parse(&fixture("mock_call")) else { panic!("a call") };
    let expected = NewCall {
        external_id: "call-0001".into(),
        direction: Direction::Inbound,
        caller: Party { name: Some("Example Caller".into()), number: Some("+15550100002".into()) },
        called: Party { name: Some("Support".into()), number: Some("+15550100001".into()) },
        started_at: Some("2026-01-05T10:00:00Z".parse().unwrap()),
        ended_at: Some("2026-01-05T10:00:29Z".parse().unwrap()),
        duration_seconds: Some(29),
        recording_url: Some("https://media.example.com/recordings/double-charge.wav".into()),
    };
    assert_eq!(call, expected);
}

#[rstest]
#[case("mock_call", Ok("call-0001"))]
#[case("no_recording", Ok("call-0002"))]
#[case("outbound", Ok("call-0003"))]
#[case("string_caller", Ok("call-0004"))]
#[case("unknown_direction", Ok("call-0006"))]
#[case("time_without_zone", Ok("call-0007"))]
#[case("extra_fields", Ok("call-0013"))]
#[case("unknown_event", Ok("call.started"))]
#[case("missing_call_id", Err("data.call_id"))]
#[case("wrong_types", Err("data.call_id"))]
#[case("not_an_object", Err("body"))]
#[case("nul_character", Err("data.caller.name"))]
#[case("too_deep", Err("body"))]
fn the_fixtures(#[case] name: &str, #[case] expected: Result<&str, &str>) {
    let seen = match parse(&fixture(name)) {
        Ok(Event::CallEnded(call)) => Ok(call.external_id),
        Ok(Event::Other { event_type }) => Ok(event_type),
        Err(rejection) => Err(rejection.field),
    };
    assert_eq!(seen, expected.map(str::to_owned).map_err(str::to_owned));
}

#[test]
fn every_fixture_has_an_expectation_above() {
    let count = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/webhooks")).unwrap().count();
    assert_eq!(count, 13);
}

#[rstest]
#[case(json!("Inbound"), Direction::Inbound)]
#[case(json!("OUTBOUND"), Direction::Outbound)]
#[case(json!("internal"), Direction::Unknown)]
#[case(json!(""), Direction::Unknown)]
#[case(json!(null), Direction::Unknown)]
fn directions(#[case] value: Value, #[case] expected: Direction) {
    assert_eq!(call_with("direction", value).direction, expected);
}

#[rstest]
#[case(json!("+15550100002"), None, Some("+15550100002"))]
#[case(json!("  "), None, None)]
#[case(json!(null), None, None)]
#[case(json!({}), None, None)]
#[case(json!({"name": "A", "number": null, "city": 1}), Some("A"), None)]
#[case(json!({"name": " ", "number": "1"}), None, Some("1"))]
fn callers(#[case] value: Value, #[case] name: Option<&str>, #[case] number: Option<&str>) {
    let caller = call_with("caller", value).caller;
    assert_eq!((caller.name.as_deref(), caller.number.as_deref()), (name, number));
}

#[test]
fn long_names_and_numbers_are_cut() {
    let caller = call_with("caller", json!({"name": "é".repeat(501), "number": "5".repeat(3_000)})).caller;
    assert_eq!((caller.name, caller.number), (Some("é".repeat(500)), Some("5".repeat(64))));
    assert_eq!(call_with("caller", json!("5".repeat(65))).caller.number, Some("5".repeat(64)));
}

#[rstest]
#[case(json!(0), Some(0))]
#[case(json!(29.0), Some(29))]
#[case(json!(i32::MAX), Some(i32::MAX))]
#[case(json!(null), Some(29))] // computed from start and end
fn durations(#[case] value: Value, #[case] expected: Option<i32>) {
    assert_eq!(call_with("duration", value).duration_seconds, expected);
}

#[test]
fn a_length_that_cannot_be_told_is_unknown() {
    let mut body = with("duration", json!(null));
    body["data"]["end_time"] = json!("2026-01-05T09:00:00Z");
    let Ok(Event::CallEnded(call)) = parsed(&body) else { panic!("a call") };
    assert_eq!(call.duration_seconds, None);
}

#[rstest]
#[case(json!(null), None)]
#[case(json!("  "), None)]
#[case(json!("not a url"), Some("not a url"))]
fn recordings(#[case] value: Value, #[case] expected: Option<&str>) {
    assert_eq!(call_with("recording_url", value).recording_url.as_deref(), expected);
}

#[rstest]
#[case("call_id", json!(""))]
#[case("call_id", json!("   "))]
#[case("call_id", json!(null))]
#[case("call_id", json!("é".repeat(201)))]
#[case("direction", json!(1))]
#[case("caller", json!(["x"]))]
#[case("called", json!(15_550_100))]
#[case("start_time", json!("yesterday"))]
#[case("start_time", json!(1_767_607_200))]
#[case("end_time", json!(["2026-01-05T10:00:00Z"]))]
#[case("duration", json!(-1))]
#[case("duration", json!(1.5))]
#[case("duration", json!("29"))]
#[case("duration", json!(2_147_483_648_i64))]
#[case("recording_url", json!(false))]
#[case("note", json!("a\0b"))]
fn wrong_values_are_named(#[case] name: &str, #[case] value: Value) {
    assert_eq!(rejected_field(&with(name, value)), format!("data.{name}"));
}

#[test]
fn the_longest_call_id_passes() {
    assert_eq!(call_with("call_id", json!("é".repeat(200))).external_id.chars().count(), 200);
}

#[test]
fn parts_of_a_party_are_named() {
    assert_eq!(rejected_field(&with("called", json!({"name": 1}))), "data.called.name");
    assert_eq!(rejected_field(&with("caller", json!({"number": 1}))), "data.caller.number");
}

#[rstest]
#[case(json!({}), "event_type")]
#[case(json!({"event_type": 1}), "event_type")]
#[case(json!({"event_type": " "}), "event_type")]
#[case(json!({"event_type": "call.ended"}), "data")]
#[case(json!({"event_type": "call.ended", "data": null}), "data")]
#[case(json!({"event_type": "call.ended", "call_id": "1", "data": {}}), "data.call_id")]
#[case(json!({"event_type": "x", "list": [{"a": ["", "\0"]}]}), "list[0].a[1]")]
#[case(json!({"event_type": "x", "a\0b": 1}), "a\\u0000b")]
fn the_envelope(#[case] body: Value, #[case] field: &str) {
    assert_eq!(rejected_field(&body), field);
}

#[rstest]
#[case(b"")]
#[case(b"{")]
#[case(b"null x")]
#[case(b"\xff\xfe")]
#[case(br#"{"event_type":"call.ended","data":{"duration":1e400}}"#)]
#[case(br#"{"event_type":"call.ended","data":{"call_id":"\ud800"}}"#)]
#[case(b"\"text\"")]
fn what_is_no_json_object_is_rejected(#[case] body: &[u8]) {
    assert_eq!(parse(body).expect_err("a rejection").field, "body");
}

#[test]
fn depth_counts_no_brackets_inside_of_text() {
    let nested = |levels: usize| format!(r#"{{"event_type":"x","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(parse(nested(63).as_bytes()).is_ok());
    assert_eq!(parse(nested(64).as_bytes()).unwrap_err().field, "body");
    let quoted = json!({"event_type": "x", "a": format!("\"\\{}", "[".repeat(100))});
    assert!(parsed(&quoted).is_ok());
    assert!(parse("[".repeat(1 << 20).as_bytes()).is_err());
}

#[test]
fn duplicate_names_take_the_last() {
    let body = br#"{"event_type":"a","event_type":"b"}"#;
    assert_eq!(parse(body), Ok(Event::Other { event_type: "b".into() }));
}

#[test]
fn a_rejection_repeats_no_value() {
    for value in [json!("yesterday-4711"), json!({"secret-4711": 1})] {
        let rejection = parsed(&with("start_time", value)).unwrap_err();
        assert!(!rejection.to_string().contains("4711"), "{rejection}");
    }
    let broken = parse(b"{\"event_type\": secret}").unwrap_err();
    assert!(!broken.to_string().contains("secret"), "{broken}");
}

/// Sound bodies with bytes changed, dropped and doubled by chance: a verdict each time, and never a panic.
#[test]
fn no_bytes_make_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chance = |below: usize| {
        // xorshift64, so that a failure repeats.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let marks = b"{}[]\",:\\u0000nulltrue-1e999 \xff\xc3\x00";
    for name in ["mock_call", "nul_character", "wrong_types", "extra_fields"] {
        let sound = fixture(name);
        for _ in 0..3_000 {
            let mut body = sound.clone();
            for _ in 0..=chance(6) {
                let at = chance(body.len());
                match chance(3) {
                    0 => body[at] = marks[chance(marks.len())],
                    1 => drop(body.remove(at)),
                    _ => body.insert(at, marks[chance(marks.len())]),
                }
            }
            if let Err(rejection) = parse(&body) {
                assert!(!rejection.field.contains('\0') && !rejection.expected.contains('\0'));
            }
        }
    }
}
