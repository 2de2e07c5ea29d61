//! How two tokens stand to each other: the same, broader, opposite, or rivals of one kind.

use super::lexicon::{Category, Lexicon};
use super::tokens::{Parsed, Token, NON, NO_CONCEPT};

/// Kinds of which an answer names one (or the listed ones) and no other.
#[must_use]
pub const fn is_exclusive(category: Category) -> bool {
    matches!(
        category,
        Category::Plane
            | Category::Modality
            | Category::Sequence
            | Category::Organ
            | Category::Finding
            | Category::Color
            | Category::Level
            | Category::Scale
    )
}

/// Words such as "lobe" that only frame a place, and "lesion" or "mass" that only frame a finding.
#[must_use]
pub fn is_general(token: &Token) -> bool {
    token.concept != NO_CONCEPT
        && matches!(
            Lexicon::get().concepts[token.concept as usize].id.as_str(),
            "organ.lobe"
                | "organ.hemisphere"
                | "finding.lesion"
                | "finding.mass"
                | "finding.disease"
                | "organ.vessel"
                | "organ.bone"
                | "organ.muscle"
                | "organ.soft_tissue"
                | "organ.joint"
                | "organ.ligament"
                | "organ.tendon"
                | "organ.cartilage"
        )
}

/// Whether the token names something that a healthy organ has not.
#[must_use]
pub const fn is_finding_like(token: &Token) -> bool {
    matches!(
        token.category,
        Category::Finding
            | Category::Unknown
            | Category::Normality
            | Category::Attribute
            | Category::Other
    )
}

/// Whether naming `token` names `want` as well: "T2" names MRI, "gallstone" the gallbladder.
///
/// An organ does not stand for the region it lies in, nor does a finding.
#[must_use]
pub fn entails(token: &Token, want: &Token) -> bool {
    if !lies_under(token, want) || token.category == Category::Organ && !is_sort(want) {
        return false;
    }
    want.category != Category::Organ || is_sort(want) || is_part(want, token)
}

/// A sort of organ, not a region: an artery is a vessel.
fn is_sort(want: &Token) -> bool {
    super::lexicon::known!("organ.vessel") == Some(want.concept)
}

/// Whether `part` is one of the concepts that spell out `whole`.
#[must_use]
pub fn is_part(part: &Token, whole: &Token) -> bool {
    whole.concept != NO_CONCEPT
        && Lexicon::get().concepts[whole.concept as usize]
            .parts
            .contains(&part.concept)
}

/// Whether one of the two is the broader concept of the other, so that naming both contradicts nothing.
#[must_use]
pub fn is_related(left: &Token, right: &Token) -> bool {
    lies_under(left, right) || lies_under(right, left)
}

/// Whether `broad` is a broader concept of `token`.
#[must_use]
pub fn lies_under(token: &Token, broad: &Token) -> bool {
    token.concept != NO_CONCEPT
        && broad.concept != NO_CONCEPT
        && Lexicon::get().concepts[token.concept as usize]
            .broader
            .contains(&broad.concept)
}

/// Whether the finding is a change of an organ, told of it like a verb: "肝脏增大".
#[must_use]
pub fn is_change(token: &Token) -> bool {
    let lexicon = Lexicon::get();
    let id = lexicon
        .concepts
        .get(token.concept as usize)
        .map_or("", |c| c.id.as_str());
    matches!(
        id,
        "finding.enlargement"
            | "finding.atrophy"
            | "finding.dilation"
            | "finding.thickening"
            | "finding.swelling"
            | "finding.deviation"
            | "finding.stenosis"
    )
}

/// "Affected", "involved".
#[must_use]
pub fn is_affected(token: &Token) -> bool {
    super::lexicon::known!("attribute.affected") == Some(token.concept)
}

/// "Increased", "smaller", "unchanged": compares with an earlier time.
#[must_use]
pub fn is_changed(token: &Token) -> bool {
    Lexicon::get()
        .concepts
        .get(token.concept as usize)
        .is_some_and(|c| {
            matches!(
                c.id.as_str(),
                "attribute.increased"
                    | "attribute.decreased"
                    | "attribute.larger"
                    | "attribute.smaller"
                    | "attribute.unchanged"
                    | "attribute.improved"
                    | "attribute.worsened"
            )
        })
}

/// Whether a finding of the one may be told of the other: the pleura and the lung it covers.
#[must_use]
pub fn are_neighbours(left: &Token, right: &Token) -> bool {
    let lexicon = Lexicon::get();
    let id = |t: &Token| {
        lexicon
            .concepts
            .get(t.concept as usize)
            .map_or("", |c| c.id.as_str())
    };
    let is_lung = |id: &str| {
        matches!(
            id,
            "organ.lung"
                | "organ.pleura"
                | "organ.chest"
                | "organ.hilum"
                | "organ.base"
                | "organ.apex"
                | "organ.lobe"
        )
    };
    let is_any = |id: &str| {
        matches!(
            id,
            "organ.vessel"
                | "organ.bone"
                | "organ.muscle"
                | "organ.lobe"
                | "organ.fat"
                | "organ.artery"
                | "organ.vein"
        )
    };
    is_lung(id(left)) && is_lung(id(right)) || is_any(id(left)) || is_any(id(right))
}

/// 1 for left, 2 for right, 3 for both, 0 for any other token.
#[must_use]
pub fn side_bits(token: &Token) -> u8 {
    if token.category != Category::Side {
        return 0;
    }
    match Lexicon::get().concepts[token.concept as usize].id.as_str() {
        "side.left" => 1,
        "side.right" => 2,
        "side.both" => 3,
        _ => 0,
    }
}

/// Sides that the tokens state, as bits.
#[must_use]
pub fn sides<'t>(tokens: impl Iterator<Item = &'t Token>) -> u8 {
    tokens
        .filter(|t| !t.is_negated && !t.is_aside)
        .fold(0, |bits, t| bits | side_bits(t))
}

/// Whether the two say opposite things ("benign" and "malignant").
#[must_use]
pub fn are_opposite(left: &Token, right: &Token) -> bool {
    left.key ^ NON == right.key
        || left.concept != NO_CONCEPT
            && right.concept != NO_CONCEPT
            && Lexicon::get().concepts[left.concept as usize]
                .opposites
                .contains(&right.concept)
}

/// Whether two words outside the table are forms of one word, or one a slip of the other.
///
/// Forms share a stem of five letters or more ("enhancing", "enhancement"). A slip is one edit in a word of seven
/// letters or more that begins with the same three letters, so that "hyper-" and "hypo-", "ab-" and "ad-" differ.
#[must_use]
pub fn is_same_word(left: (&Parsed, &Token), right: (&Parsed, &Token)) -> bool {
    let a = &left.0.text[left.1.start as usize..left.1.end as usize];
    let b = &right.0.text[right.1.start as usize..right.1.end as usize];
    if !a.is_ascii() || !b.is_ascii() || a.len().min(b.len()) < 5 {
        return false;
    }
    match (left.1.concept != NO_CONCEPT, right.1.concept != NO_CONCEPT) {
        (true, true) => return false,
        // a date, a level or a value that differs in one digit is another one
        (false, false)
            if left.1.category != right.1.category || left.1.category != Category::Unknown =>
        {
            return false;
        }
        (false, false) => {}
        // a slip of a word of the table
        _ => {
            let is_word = !a.contains(' ') && !b.contains(' ');
            return is_word
                && a.len().min(b.len()) >= 9
                && a.as_bytes()[..4] == b.as_bytes()[..4]
                && (is_one_edit(a.as_bytes(), b.as_bytes())
                    || latin_stem(a)
                        .is_some_and(|stem| stem.len() >= 6 && Some(stem) == latin_stem(b)));
        }
    }
    if a.len().min(b.len()) < 5 || a.as_bytes()[..3] != b.as_bytes()[..3] {
        return false;
    }
    let (stem_a, stem_b) = (stem(a), stem(b));
    stem_a == stem_b
        || latin_stem(a).is_some_and(|stem| Some(stem) == latin_stem(b))
        || (a.len().min(b.len()) >= 7 && is_one_edit(a.as_bytes(), b.as_bytes()))
}

const SUFFIXES: [&str; 25] = [
    "ical", "ics", "ic", "ations", "ation", "ating", "ated", "ments", "ment", "ings", "ing",
    "ions", "ion", "ally", "ates", "ate", "ous", "ive", "ed", "al", "ly", "es", "e", "s", "y",
];

/// "Eroded" and "erosion", "protruding" and "protrusion" have one stem.
fn latin_stem(word: &str) -> Option<&str> {
    [
        "sions", "sion", "sive", "ding", "ded", "des", "de", "sing", "sed", "ses", "se",
    ]
    .iter()
    .find_map(|suffix| word.strip_suffix(suffix).filter(|rest| rest.len() >= 3))
    .or_else(|| {
        // "dysplasia" and "dysplastic", "sclerosis" and "sclerotic"
        ["stic", "sias", "sia", "sis", "ses", "tic"]
            .iter()
            .find_map(|suffix| word.strip_suffix(suffix).filter(|rest| rest.len() >= 5))
    })
}

fn stem(word: &str) -> &str {
    SUFFIXES
        .iter()
        .find_map(|suffix| word.strip_suffix(suffix).filter(|rest| rest.len() >= 5))
        .unwrap_or(word)
}

/// Whether one insertion, deletion, substitution or swap of neighbours makes the two equal.
fn is_one_edit(left: &[u8], right: &[u8]) -> bool {
    let (short, long) = if left.len() <= right.len() {
        (left, right)
    } else {
        (right, left)
    };
    if long.len() - short.len() > 1 {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    if short.len() < long.len() {
        return short[same..] == long[same + 1..];
    }
    if same == short.len() {
        return true;
    }
    let is_swap = same + 1 < short.len()
        && short[same] == long[same + 1]
        && short[same + 1] == long[same]
        && short[same + 2..] == long[same + 2..];
    is_swap || short[same + 1..] == long[same + 1..]
}
