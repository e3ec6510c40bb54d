#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

/// What a client has of a stream: type, data and last id of each event, as the standard's algorithm says, word for word.
fn dispatched(stream: &[u8]) -> Vec<(String, String, String)> {
    let text = String::from_utf8_lossy(stream).into_owned();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    // What has no line end is no line.
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    let (mut data, mut kind, mut id) = (String::new(), String::new(), String::new());
    let mut events = Vec::new();
    for line in text[..end].split_terminator('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                events.push((kind.clone(), data.clone(), id.clone()));
            }
            data.clear();
            kind.clear();
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => kind = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = value.to_owned(),
            _ => {}
        }
    }
    events
}

fn parsed(pieces: &[&[u8]], longest: usize) -> Vec<Event> {
    let mut parser = Parser::new(longest);
    pieces.iter().flat_map(|piece| parser.push(piece)).collect()
}

fn again(events: &[Event]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (number, event) in (1..).zip(events) {
        let Event::Whole { lines, id } = event else {
            continue;
        };
        let place = Place { run: 3, number };
        stream.extend_from_slice(&written(lines, &place.with(id)));
    }
    stream
}

/// The same with each id of ours taken off again.
fn as_of_the_agent(stream: &[u8]) -> Vec<(String, String, String)> {
    let own = |id: String| {
        id.split_once(':')
            .map_or(String::new(), |(_, own)| own.to_owned())
    };
    let all = dispatched(stream).into_iter();
    all.map(|(kind, data, id)| (kind, data, own(id))).collect()
}

#[test]
fn the_standards_own_examples_are_read() {
    let lines = |stream: &[u8]| -> Vec<String> {
        let of = |event: &Event| match event {
            Event::Whole { lines, id } => format!(
                "{}|{}",
                String::from_utf8_lossy(lines),
                String::from_utf8_lossy(id)
            ),
            Event::TooLong => "too long".to_owned(),
        };
        parsed(&[stream], 100).iter().map(of).collect()
    };
    assert_eq!(
        lines(b"data: YHOO\ndata: +2\ndata: 10\n\n"),
        ["data: YHOO\ndata: +2\ndata: 10\n|"]
    );
    assert_eq!(
        lines(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"),
        ["data: first event\n|1", "data:second event\n|"]
    );
    assert_eq!(
        lines(b"data\n\ndata\ndata\n\ndata:"),
        ["data\n|", "data\ndata\n|"]
    );
    assert_eq!(
        lines(b"\xef\xbb\xbfdata: a\r\rdata: b\r\n\r\n"),
        ["data: a\n|", "data: b\n|"]
    );
    assert_eq!(
        lines(b"data: a\n\n\xef\xbb\xbfdata: b\n\n"),
        ["data: a\n|", "|"]
    );
    assert_eq!(
        lines(b"id: 7\n\ndata: x\n\nid: a\0b\ndata: y\n\n"),
        ["|7", "data: x\n|7", "data: y\n|7"]
    );
    assert_eq!(lines(b"retry: 10\n\n: alive\n\n\n\n"), ["retry: 10\n|"]);
}

#[test]
fn an_event_is_there_as_soon_as_its_line_ended() {
    let mut parser = Parser::new(100);
    assert!(parser.push(b"data: a\r\n").is_empty());
    assert_eq!(parser.push(b"\r").len(), 1, "before the line feed came");
    assert!(parser.push(b"\n").is_empty(), "which ends nothing more");
    assert!(parser.push(b"data: b\n").is_empty());
    assert_eq!(parser.push(b"\n").len(), 1);
}

#[test]
fn what_is_too_long_is_told_and_takes_no_memory() {
    let long = vec![b'x'; 1000];
    let mut parser = Parser::new(100);
    assert!(parser.push(b"data: ").is_empty());
    for _ in 0..1000 {
        assert!(parser.push(&long).is_empty());
        assert!(parser.line.len() + parser.lines.len() <= 200);
    }
    assert_eq!(parser.push(b"\ndata: y\n\n"), [Event::TooLong]);
    assert_eq!(
        parser.push(b"data: z\n\n").len(),
        1,
        "and the next is whole"
    );
    let many: Vec<u8> = b"data: 123456\n".repeat(50);
    assert!(parser.push(&many).is_empty());
    assert!(parser.lines.len() <= 100);
    assert_eq!(parser.push(b"\n"), [Event::TooLong]);
    let comment = [b":".to_vec(), long, b"\ndata: a\n\n".to_vec()].concat();
    assert!(matches!(parser.push(&comment)[..], [Event::Whole { .. }]));
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "data", "event", "id", "retry", ":", ": ", " ", "\n", "\n\n", "\r", "\r\n", "\r\n\r\n",
        "a", "1:2", "\0", "é", "\u{feff}", "-",
    ];
    let odd = Just(b"\xff".to_vec());
    prop_oneof![
        20 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => odd,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_client_has_the_same_of_what_was_kept_wherever_the_stream_was_cut(
        words in prop::collection::vec(word(), 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = words.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let events = parsed(&pieces, 1 << 20);
        prop_assert_eq!(&events, &parsed(&[&stream], 1 << 20));
        let each: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&events, &parsed(&each, 1 << 20));
        prop_assert_eq!(as_of_the_agent(&again(&events)), dispatched(&stream));
    }

    #[test]
    fn no_event_is_longer_than_it_may_be(
        words in prop::collection::vec(word(), 0..60),
        longest in 1_usize..30,
    ) {
        let stream = words.concat();
        for event in parsed(&[&stream], longest) {
            if let Event::Whole { lines, .. } = event {
                prop_assert!(lines.len() <= longest + 1);
            }
        }
    }
}
