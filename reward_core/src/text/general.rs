//! Statements that hold in general ("effusions are a common finding", 常见于心衰): they say nothing of this picture.
//!
//! Where the question is a general one they are the answer, and stay. Otherwise nothing is claimed by them.

use super::claims::Standing;
use super::clauses::{Opener, Segment};
use super::lexicon::{Category, Role};
use super::question::Question;
use super::tokens::{Parsed, Token};
use super::words::{has_any, Break};

/// Words of a question that make it a general one.
const GENERAL: [&str; 40] = [
    "common",
    "usual",
    "typical",
    "often",
    "frequent",
    "characteristic",
    "classic",
    "generally",
    "cause",
    "associated",
    "complication",
    "risk",
    "symptom",
    "treat",
    "function",
    "role of",
    "mean",
    "define",
    "definition",
    "predispos",
    "known for",
    "常见",
    "通常",
    "多见",
    "好发",
    "一般",
    "典型",
    "原因",
    "病因",
    "并发症",
    "症状",
    "治疗",
    "引起",
    "导致",
    "特征",
    "功能",
    "作用",
    "定义",
    "表现为",
    "容易",
];

/// Things that are asked for in general, unless the question points at a picture.
const GENERAL_THINGS: [&str; 30] = [
    "which group",
    "what group",
    "population",
    "which patients",
    "whom",
    "who is",
    "who are",
    "哪类人",
    "人群",
    "lead",
    "deficien",
    "responsible",
    "result",
    "used ",
    "drug",
    "hormone",
    "enzyme",
    "gene ",
    "which disease",
    "what disease",
    "which condition",
    "what condition",
    "which disorder",
    "what disorder",
    "which syndrome",
    "什么病",
    "什么疾病",
    "哪种疾病",
    "哪些疾病",
    "哪种病",
];

/// Words that point at what is looked at.
const POINTING: [&str; 14] = [
    "this", "these", "there", "here", "image", "picture", "shown", "seen", "visible", "scan",
    "patient", "图", "片", "影像",
];

/// Whether the question asks what is so in general.
#[must_use]
pub fn asks_in_general(question: &Question) -> bool {
    let text = &question.parsed.text;
    let has = |words: &[&str]| question.has(words);
    let is_modal = question.parsed.tokens.iter().take(6).any(|t| {
        let word = question.parsed.word(t);
        matches!(
            word,
            "can" | "could" | "may" | "might" | "may be" | "might be"
        )
    });
    // "Does liposarcoma appear benign?"
    let is_of_kind = ["does ", "do "].iter().any(|w| text.starts_with(w))
        && !has(&POINTING)
        && !has(&["the ", "show", "it "]);
    is_modal || is_of_kind || has(&GENERAL) || has(&GENERAL_THINGS) && !has(&POINTING)
}

/// Says of a finding that it is usual or not: "a common finding".
#[must_use]
pub fn is_usual_finding(word: &str) -> bool {
    matches!(
        word,
        "common"
            | "frequent"
            | "typical"
            | "classic"
            | "classical"
            | "known"
            | "well-known"
            | "recognized"
            | "recognised"
            | "usual"
            | "rare"
            | "uncommon"
            | "leading"
            | "important"
            | "nonspecific"
    )
}

fn is_usual(word: &str) -> bool {
    is_usual_finding(word)
        || matches!(
            word,
            "characteristic"
                | "pathognomonic"
                | "commonest"
                | "possible"
                | "frequently"
                | "commonly"
        )
}

/// What a finding is called in general: "a common finding".
#[must_use]
pub fn is_sort_of_finding(word: &str) -> bool {
    matches!(
        word,
        "finding"
            | "cause"
            | "complication"
            | "feature"
            | "sign"
            | "manifestation"
            | "condition"
            | "sequela"
            | "consequence"
            | "indication"
            | "indicator"
    )
}

/// What something general is called.
fn is_sort(word: &str) -> bool {
    let word = word.strip_suffix('s').unwrap_or(word);
    is_sort_of_finding(word)
        || matches!(
            word,
            "site"
                | "location"
                | "place"
                | "presentation"
                | "disease"
                | "disorder"
                | "entity"
                | "problem"
                | "phenomenon"
                | "observation"
                | "occurrence"
                | "diagnosi"
                | "abnormality"
                | "pattern"
                | "variant"
                | "symptom"
                | "reason"
                | "pathology"
                | "lesion"
                | "tumor"
                | "tumour"
                | "malignancy"
                | "modality"
                | "view"
                | "plane"
                | "side"
                | "organ"
                | "color"
                | "colour"
                | "size"
                | "number"
                | "answer"
                | "result"
                | "choice"
                | "technique"
                | "structure"
        )
}

/// Says how often something is so.
#[must_use]
pub fn says_how_often(word: &str) -> bool {
    matches!(
        word,
        "often"
            | "commonly"
            | "frequently"
            | "usually"
            | "typically"
            | "rarely"
            | "sometimes"
            | "常"
            | "常常"
            | "通常"
            | "往往"
            | "多见"
            | "常见"
    )
}

fn is_often(word: &str) -> bool {
    says_how_often(word)
        || matches!(
            word,
            "occasionally"
                | "classically"
                | "characteristically"
                | "一般"
                | "常见于"
                | "多见于"
                | "好发于"
                | "易发于"
        )
}

/// Words that tie a statement to what is looked at.
fn is_of_case(word: &str) -> bool {
    matches!(
        word,
        "this"
            | "these"
            | "they"
            | "both"
            | "its"
            | "their"
            | "here"
            | "there"
            | "it"
            | "our"
            | "image"
            | "images"
            | "picture"
            | "scan"
            | "film"
            | "figure"
            | "patient"
            | "shows"
            | "showing"
            | "demonstrates"
            | "reveals"
            | "i"
            | "we"
            | "本例"
            | "此例"
            | "该例"
            | "本病例"
            | "该病例"
            | "此病例"
            | "本患者"
            | "该患者"
            | "此患者"
            | "本患儿"
            | "该患儿"
            | "该"
            | "此"
            | "本图"
            | "图"
            | "图中"
            | "图像"
            | "这"
            | "这里"
            | "本片"
            | "患者的"
    )
}

impl Parsed {
    /// Sets aside the clauses that only tell what is so in general.
    pub(super) fn settle_general(&mut self) {
        for index in 1..self.segments.len() {
            let segment = self.segments[index];
            if self.is_general_apposition(self.of(&segment)) {
                let range = segment.first as usize..segment.end as usize;
                self.set_aside(range, Standing::General);
            }
        }
        let mut first = 0;
        while first < self.segments.len() {
            let (mut end, mut has_verb) = (first + 1, self.segments[first].has_verb);
            while end < self.segments.len() && self.goes_on(first, end, has_verb) {
                has_verb |= self.segments[end].has_verb;
                end += 1;
            }
            let tokens = self.segments[first].first as usize..self.segments[end - 1].end as usize;
            if self.is_general(&self.tokens[tokens.clone()]) {
                self.set_aside(tokens.clone(), Standing::General);
                for segment in &mut self.segments[first..end] {
                    segment.standing = Standing::General;
                }
            }
            first = end;
        }
    }

    /// "…, a common finding after trauma".
    fn is_general_apposition(&self, tokens: &[Token]) -> bool {
        let after_comma = tokens.first().is_some_and(|t| t.before == Break::Comma);
        let mut words = tokens.iter().map(|t| self.word(t)).take(5).skip_while(|w| {
            matches!(
                *w,
                "a" | "an" | "the" | "one" | "of" | "one of" | "most" | "very"
            )
        });
        let first = words.next().unwrap_or_default();
        // "空洞，多见于结核"
        let is_often_in = !first.is_ascii() && is_often(first);
        after_comma && (is_often_in || is_usual(first) && words.any(is_sort))
    }

    /// Whether the segment belongs to the clause that segment `first` begins, which has a verb or none.
    fn goes_on(&self, first: usize, index: usize, has_verb: bool) -> bool {
        let (open, segment) = (&self.segments[first], &self.segments[index]);
        let points = |t: &Token| is_of_case(self.word(t)); // "… the ulna breaks. This child …"
        let begins_another = open.sentence != segment.sentence
            || self.of(segment).first().is_some_and(points)
            || matches!(
                segment.opener,
                Opener::Contrast | Opener::Start | Opener::Relative
            )
            || segment.has_verb && has_verb
            || self.tells_in_general(segment);
        !begins_another
    }

    /// "脑膜瘤一般可见脑膜尾征" after a comma names its own subject, "多见于结核" is said of the one before.
    fn tells_in_general(&self, segment: &Segment) -> bool {
        let tokens = self.of(segment);
        let Some(first) = tokens.first().filter(|t| !self.word(t).is_ascii()) else {
            return false;
        };
        segment.opener == Opener::List
            && first.is_content()
            && tokens.iter().any(|t| is_often(self.word(t)))
            || self.is_general_apposition(tokens)
    }

    fn is_general(&self, tokens: &[Token]) -> bool {
        let word = |at: usize| self.told_word(tokens, at);
        // "typically shows"
        let is_told_often = |at: usize| {
            matches!(word(at), "shows" | "demonstrates" | "reveals")
                && at > 0
                && says_how_often(word(at - 1))
        };
        // "men of this age"
        let is_of_kind = |at: usize| {
            matches!(
                word(at + 1),
                "age" | "sex" | "gender" | "group" | "kind" | "type" | "population"
            )
        };
        if tokens.iter().enumerate().any(|(at, t)| {
            matches!(t.role, Role::Yes | Role::No | Role::Conclude)
                || is_of_case(self.word(t)) && !is_told_often(at) && !is_of_kind(at)
        }) {
            return false;
        }
        let is_be = |at: usize| {
            matches!(
                word(at),
                "is" | "are" | "be" | "being" | "remains" | "为" | "是"
            )
        };
        let verb = (0..tokens.len()).find(|&at| is_be(at));
        let is_place = |t: &Token| {
            matches!(
                t.category,
                Category::Organ | Category::Side | Category::Direction
            )
        };
        // "the opacity is typical of …" speaks of this one, "the liver is a common site" of any
        let is_definite = |end: usize| {
            let lead = &tokens[..end];
            let opens = |at: usize| at == 0 || lead[at].before >= Break::Comma;
            (0..end).any(|at| opens(at) && word(at) == "the")
                && !lead.iter().filter(|t| t.is_content()).all(is_place)
        };
        let names_before = |end: usize| tokens[..end].iter().any(Token::is_content);
        let after_be = verb.filter(|&at| names_before(at) && !is_definite(at));
        if after_be.is_some_and(|verb| self.calls_usual(tokens, verb)) {
            return true;
        }
        let often = (0..tokens.len()).find(|&at| is_often(word(at)));
        // "the left psoas muscle is more commonly torn", "… is usually torn": of one side in general
        let is_of_side = |at: usize| {
            is_compared(word(at.wrapping_sub(1)))
                || is_be(at.wrapping_sub(1))
                    && tokens[..at].iter().any(|t| t.category == Category::Side)
        };
        if often.is_some_and(|at| !is_definite(at) || is_of_side(at)) {
            return true;
        }
        if self.is_of_many(tokens) {
            return true;
        }
        let modal = (0..tokens.len()).find(|&at| {
            matches!(
                word(at),
                "may" | "may be" | "might" | "might be" | "can" | "can be seen"
            )
        });
        if let Some(at) = modal.filter(|&at| names_before(at) && !is_definite(at)) {
            let told = (at + 1..=at + 2).map(word).find(|w| is_told_in_general(w));
            let rest = &tokens[at + 1..];
            let is_of_disease = rest.iter().any(Token::is_content)
                && !rest.iter().any(is_place)
                && !rest
                    .iter()
                    .any(|t| matches!(self.word(t), "the" | "a" | "an"));
            if told.is_some() || word(at).ends_with("seen") && is_of_disease {
                return true;
            }
        }
        self.is_general_in_chinese(tokens)
    }

    /// "X is a common finding", "is typical of", "is rare", "is defined as": what follows the verb.
    fn calls_usual(&self, tokens: &[Token], verb: usize) -> bool {
        let word = |at: usize| self.told_word(tokens, at);
        let usual = (verb + 1..tokens.len())
            .find(|&at| tokens[at].is_content() || is_usual(word(at)))
            .filter(|&at| is_usual(word(at)));
        let says_usual = usual.is_some_and(|at| (at + 1..=at + 3).any(|next| is_sort(word(next))));
        let is_typical = usual.is_some_and(|at| matches!(word(at + 1), "of" | "for" | "in"));
        let is_common = usual.is_some_and(|at| {
            matches!(
                word(at),
                "common" | "uncommon" | "rare" | "frequent" | "usual"
            ) && tokens
                .get(at + 1)
                .is_none_or(|t| t.role == Role::Preposition || t.before >= Break::Comma)
        });
        let is_linked = matches!(
            word(verb + 1),
            "associated"
                | "associated with"
                | "defined"
                | "defined as"
                | "treated"
                | "diagnosed"
                | "managed"
                | "classified"
                | "characterized"
                | "characterized by"
                | "characterised"
                | "characterised by"
        );
        says_usual || is_typical || is_common || is_linked
    }

    /// The word at a place of the clause, nothing for what is said aside or lies outside.
    fn told_word(&self, tokens: &[Token], at: usize) -> &str {
        tokens
            .get(at)
            .filter(|t| !t.is_aside)
            .map_or("", |t| self.word(t))
    }

    /// "Tends to be torn", "in most cases", "is more prone to", 多数患者: of many, not of this one.
    fn is_of_many(&self, tokens: &[Token]) -> bool {
        let word = |at: usize| tokens.get(at).map_or("", |t| self.word(t));
        (0..tokens.len()).any(|at| match word(at) {
            "tends" | "tend" | "prone" => word(at + 1) == "to",
            "likely" => is_compared(word(at.wrapping_sub(1))) && word(at + 1) == "to",
            "cases" => matches!(word(at.wrapping_sub(1)), "most" | "many"),
            people if is_people(people) => {
                // "most children break …", "in adults the ulna breaks"; "the women shown" are those looked at
                matches!(word(at.wrapping_sub(1)), "most" | "many")
                    || tokens[..at]
                        .iter()
                        .all(|t| t.role != Role::Determiner && t.role != Role::Number)
                        && at <= LONGEST_PEOPLE
                        && tokens[at + 1..].iter().any(Token::is_content)
            }
            "in general" | "as a rule" | "by and large" | "predilection" | "多数" | "大多数"
            | "多数患者" | "大多" | "大部分患者" | "更容易" | "更易" | "较易" => {
                true
            }
            "general" => word(at.wrapping_sub(1)) == "in",
            "rule" => word(at.wrapping_sub(2)) == "as",
            "generally" | "normally" => {
                at == 0 || is_compared(word(at + 1)) || word(at + 1) == "slightly"
            }
            _ => false,
        })
    }

    /// "空洞可见于结核", "是常见的并发症".
    fn is_general_in_chinese(&self, tokens: &[Token]) -> bool {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return false;
        };
        let text = self.between(first.start as usize, last.end as usize);
        if text.is_ascii() {
            return false;
        }
        let says = |words: &[&str]| has_any(text, words);
        let is_place = |t: &Token| {
            matches!(
                t.category,
                Category::Organ | Category::Side | Category::Direction
            )
        };
        let seen_in = tokens
            .iter()
            .position(|t| self.word(t) == "于")
            .is_some_and(|at| {
                at > 0
                    && matches!(
                        self.word(&tokens[at - 1]),
                        "可见" | "见" | "可发生" | "发生"
                    )
                    && !tokens[at..].iter().any(is_place)
                    && tokens[at..].iter().any(Token::is_content)
            });
        // "儿童多为尺骨骨折"
        let of_people = says(&PEOPLE) && says(&["多为", "多是", "多在", "好发", "常为", "常是"]);
        seen_in
            || of_people
            || says(&[
                "多数患者",
                "多数病例",
                "大部分病例",
                "多数情况",
                "大多数",
                "更容易",
                "更易",
                "更为多见",
                "更多见",
                "较多见",
                "更常见",
                "较常见",
                "多有",
                "多见",
                "多伴",
                "多呈",
                "常有",
                "常见的",
                "常见表现",
                "常见征象",
                "常见原因",
                "常见并发症",
                "常见疾病",
                "常见部位",
                "典型表现",
                "常表现为",
                "多表现为",
                "可表现为",
                "常伴",
                "常由",
                "常引起",
                "多由",
                "一种常见",
            ])
    }
}

/// Words before the people that a statement is about: "in most older men".
const LONGEST_PEOPLE: usize = 3;

/// People in general: a plural.
fn is_people(word: &str) -> bool {
    matches!(
        word,
        "patients"
            | "people"
            | "individuals"
            | "persons"
            | "adults"
            | "children"
            | "infants"
            | "women"
            | "men"
            | "males"
            | "females"
    )
}

/// The same in Chinese.
const PEOPLE: [&str; 8] = [
    "儿童",
    "成人",
    "老年人",
    "小儿",
    "婴幼儿",
    "青少年",
    "女性",
    "男性",
];

/// "More commonly": compares with what is not looked at.
fn is_compared(word: &str) -> bool {
    matches!(
        word,
        "more" | "most" | "less" | "least" | "much more" | "far more" | "更" | "更为" | "较"
    )
}

/// "May be seen in …", "can occur with …".
fn is_told_in_general(word: &str) -> bool {
    matches!(
        word,
        "seen"
            | "seen in"
            | "seen with"
            | "found"
            | "found in"
            | "observed"
            | "observed in"
            | "encountered"
            | "occur"
            | "occurs"
            | "develop"
            | "arise"
            | "accompany"
            | "cause"
            | "complicate"
            | "mimic"
            | "lead"
            | "result"
            | "caused"
            | "associated"
    )
}

#[cfg(test)]
mod tests {
    use super::super::answers::accepts;

    #[test]
    fn what_is_so_in_general_claims_nothing_of_a_picture() {
        let asked = ("What abnormality is seen?", "pneumothorax");
        for general in [
            "Pneumothorax is a common finding.",
            "Pneumothorax is often seen in tall young men.",
            "Pneumothorax may be seen with emphysema.",
            "Pneumothorax is typical of trauma.",
            "Pneumothoraces usually follow trauma.",
        ] {
            assert!(!accepts(asked.0, asked.1, general), "{general}");
        }
        for claim in [
            "The appearance is typical of a pneumothorax.",
            "There is a pneumothorax, a common finding after trauma.",
            "This is a classic sign of pneumothorax.",
            "A pneumothorax is seen.",
        ] {
            assert!(accepts(asked.0, asked.1, claim), "{claim}");
        }
        assert!(!accepts("图中可见什么异常？", "空洞", "空洞多见于结核。"));
        assert!(accepts(
            "图中可见什么异常？",
            "空洞",
            "右上肺可见空洞，多见于结核。"
        ));
    }

    #[test]
    fn what_is_so_in_general_answers_a_general_question() {
        assert!(accepts(
            "What is a common cause of bowel obstruction?",
            "adhesions",
            "Adhesions are a common cause."
        ));
        assert!(accepts("空洞常见于什么病？", "结核", "空洞常见于结核。"));
    }
}
