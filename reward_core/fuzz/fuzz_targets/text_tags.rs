//! Tags are found in any text, alike in both encodings; contents lie inside it, and a right form is a right graded one.
#![no_main]

use _reward_core::text::source::Source;
use _reward_core::text::tags::{Scan, TagSet, TagState};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let set = TagSet::new(&["think", "answer", "plane", "modality"]).expect("sound names");
    let characters: Vec<u32> = text.chars().map(u32::from).collect();
    let mut scan = Scan::default();
    let wide = set.parse(Source::Utf32(&characters), &mut scan);
    let narrow = set.parse(text, &mut scan);
    assert_eq!(narrow.states, wide.states);
    assert_eq!(narrow.format(&set), wide.format(&set));
    assert_eq!(narrow.format_graded(&set), wide.format_graded(&set));
    assert_eq!(
        narrow.format(&set) == 1.0,
        narrow.format_graded(&set) == 1.0
    );
    for tag in 0..set.len() {
        assert_eq!(
            narrow.contents[tag].is_some(),
            narrow.states[tag] == TagState::Found
        );
        let said = wide.contents[tag].map(|(start, end)| {
            let characters = &characters[start..end];
            characters
                .iter()
                .filter_map(|&c| char::from_u32(c))
                .collect::<String>()
        });
        let content = narrow.contents[tag].map(|(start, end)| text[start..end].to_string());
        assert!(content.as_ref().is_none_or(|c| c.trim() == c));
        assert_eq!(content, said);
        for plain in [false, true] {
            if let Ok((start, end)) = set.field(&narrow, tag, Source::Utf8(text), plain, &scan) {
                assert!(text.get(start..end).is_some());
            }
        }
    }
});
