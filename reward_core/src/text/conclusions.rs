//! Conclusions, totals and the patient's side: what gives way to what is said later or more exactly.

use super::claims::{Kinds, Standing};
use super::clauses::{Opener, Segment};
use super::lexicon::{Category, Role};
use super::question::Question;
use super::tokens::{Parsed, Token};
use super::words::Break;

/// Words before a mark that are looked at.
const LONGEST_LEAD: usize = 8;

/// "This represents", "these findings indicate": what follows says what the things seen before are.
const INTERPRETING: [&str; 13] = [
    "represents",
    "represent",
    "indicates",
    "indicate",
    "suggests",
    "suggest",
    "corresponds",
    "correspond",
    "reflects",
    "reflect",
    "means",
    "mean",
    "反映",
];

/// What calls the sentence before it the answer.
const CLOSING: [&str; 15] = [
    "my diagnosis",
    "my answer",
    "my final answer",
    "my response",
    "my choice",
    "my pick",
    "what i would answer",
    "what i would choose",
    "what i would pick",
    "what the question asks",
    "是我的答案",
    "就是答案",
    "是本题答案",
    "为本题答案",
    "即为答案",
];

const INTERPRETING_PHRASES: [&str; 11] = [
    "consistent with",
    "compatible with",
    "suggestive of",
    "diagnostic of",
    "indicative of",
    "characteristic of",
    "提示",
    "符合",
    "说明",
    "表明",
    "考虑",
];

impl Parsed {
    /// "The catheter passes the vena cava and ends in the atrium" where its tip is asked: the way is not the end.
    pub(super) fn settle_course(&mut self, question: &Question) {
        let asks_end = question.has(&[
            "tip ", "tip?", "end of", " end ", " end?", "terminat", "尖端", "末端", "头端",
        ]);
        if !asks_end {
            return;
        }
        let says = |segment: &Segment, words: &[&str]| {
            self.of(segment)
                .iter()
                .any(|t| words.contains(&self.word(t)))
        };
        let passes = [
            "passes",
            "passing",
            "traverses",
            "traversing",
            "courses",
            "coursing",
            "runs",
            "crosses",
            "through",
            "via",
            "经",
            "经过",
            "穿过",
            "通过",
            "穿",
        ];
        let ends = [
            "ends",
            "ending",
            "terminates",
            "terminating",
            "tip",
            "stops",
            "reaches",
            "rests",
            "projects",
            "lies",
            "止于",
            "终止于",
            "位于",
            "尖端",
            "末端",
            "头端",
            "到达",
            "达",
        ];
        let Some(told) = self.segments.iter().position(|s| says(s, &ends)) else {
            return;
        };
        let goes_on = |s: &Segment| {
            s.opener == Opener::Contrast
                || self
                    .of(s)
                    .iter()
                    .any(|t| matches!(t.role, Role::No | Role::Retract))
        };
        let is_way = |s: &Segment| {
            !says(s, &ends)
                && (says(s, &passes)
                    || s.first >= self.segments[told].end
                        && !goes_on(s)
                        && s.sentence != self.segments[told].sentence
                    || s.end <= self.segments[told].first)
        };
        let ways: Vec<Segment> = self
            .segments
            .iter()
            .filter(|s| is_way(s))
            .copied()
            .collect();
        for way in ways {
            self.set_aside(way.first as usize..way.end as usize, Standing::Beside);
        }
    }
}

impl Parsed {
    /// Where the conclusion begins: the first "therefore" or "the answer" with something before and after it; where
    /// there is none and `interprets`, the first "these findings indicate".
    fn conclusion(&self, interprets: bool, asks_which: bool) -> Option<usize> {
        let lead = |at: usize| {
            let segment = &self.segments[self.tokens[at].segment as usize];
            &self.tokens[(segment.first as usize).max(at.saturating_sub(LONGEST_LEAD))..at]
        };
        let last = self
            .tokens
            .iter()
            .rposition(|t| t.is_content() || matches!(t.role, Role::Yes | Role::No))?;
        let concludes = |&at: &usize| {
            let token = &self.tokens[at];
            token.role == Role::Conclude
                && !token.is_aside
                && lead(at).iter().all(|t| {
                    matches!(
                        t.role,
                        Role::Determiner | Role::Filler | Role::And | Role::Conclude
                    )
                })
        };
        let takes_up = |&at: &usize| {
            let token = &self.tokens[at];
            let is_verb = token.role == Role::Verb
                && (INTERPRETING.contains(&self.word(token)) || self.word(token) == "考虑")
                || matches!(token.role, Role::Filler | Role::Affirm | Role::Relative)
                    && INTERPRETING_PHRASES.contains(&self.word(token));
            let lead = lead(at);
            let takes_it_up = lead.first().is_some_and(|t| t.role == Role::Determiner)
                || lead.is_empty() && !self.text.is_char_boundary(token.start as usize + 1); // "…，考虑肺炎"
            is_verb
                && !token.is_aside
                && takes_it_up
                && lead.iter().all(|t| {
                    matches!(
                        t.role,
                        Role::Determiner | Role::Filler | Role::Verb | Role::And
                    )
                })
        };
        // "…，此即尾状核", "…，这是尾状核", "…，即尾状核"
        let identifies = |&at: &usize| {
            let token = &self.tokens[at];
            let opens = token.before >= Break::Comma
                && matches!(
                    self.word(token),
                    "此" | "这"
                        | "该"
                        | "即"
                        | "即为"
                        | "此即"
                        | "这是"
                        | "此为"
                        | "也就是"
                        | "就是"
                );
            let is_link =
                |t: &Token| matches!(self.word(t), "即" | "即为" | "为" | "是" | "就是" | "即是");
            opens
                && !token.is_aside
                && (is_link(token)
                    || !matches!(self.word(token), "此" | "这" | "该")
                    || self
                        .tokens
                        .get(at + 1)
                        .is_some_and(|n| n.before == Break::Joined && is_link(n)))
        };
        self.sentence_called_answer()
            .or_else(|| (1..last).find(concludes))
            .or_else(|| {
                (1..last)
                    .rev()
                    .find(|&at| asks_which && self.singles_out(at))
            })
            .or_else(|| (1..last).rev().find(|&at| self.is_thus(at)))
            .or_else(|| (1..last).find(identifies))
            .or_else(|| (1..last).filter(|_| interprets).find(takes_up))
    }

    /// "The majority is fed by the left circumflex, which is what I would answer.": where that sentence begins.
    fn sentence_called_answer(&self) -> Option<usize> {
        let at = self.tokens.iter().rposition(|t| {
            let rest = &self.text[t.start as usize..];
            CLOSING.iter().any(|c| rest.starts_with(c))
        })?;
        let sentence = self.tokens[at].sentence;
        let first = self.tokens.iter().position(|t| t.sentence == sentence)?;
        (first > 0 && self.tokens[first..at].iter().any(Token::is_stated)).then_some(first)
    }

    /// "The vessel most often responsible is thus the right one."
    fn is_thus(&self, at: usize) -> bool {
        let (before, token) = (&self.tokens[at - 1], &self.tokens[at]);
        matches!(
            self.word(token),
            "thus" | "therefore" | "hence" | "consequently"
        ) && matches!(self.word(before), "is" | "are" | "must be")
            && !token.is_aside
    }

    /// "This one is too large. Only the other is carried across."
    fn singles_out(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let segment = &self.segments[token.segment as usize];
        matches!(self.word(token), "only" | "仅" | "仅有" | "只有" | "唯有")
            && segment.first as usize == at
            && segment.has_verb
            && token.before >= Break::Comma
            && !token.is_aside
            && self
                .tokens
                .get(at + 1)
                .is_some_and(|n| n.is_stated() && n.category != Category::Finding)
    }

    /// "病灶可疑，建议活检": where it is asked what to do, what is recommended answers.
    fn recommendation(&self, question: Option<&Question>) -> Option<usize> {
        let asks = |q: &Question| q.has(&["下一步", "处理", "怎么办", "next step", "management"]);
        question.filter(|q| asks(q))?;
        self.tokens.iter().position(|t| {
            t.before >= Break::Comma
                && matches!(self.word(t), "建议" | "推荐" | "应行" | "应予" | "宜行")
        })
    }

    /// "The cavities and a positive smear prove tuberculosis": what proves it is not what is named.
    fn settle_proof(&mut self, kinds: Kinds) {
        if !kinds.has(Category::Finding) {
            return;
        }
        let proves = |t: &Token| {
            matches!(
                self.word(t),
                "prove"
                    | "proves"
                    | "proved"
                    | "confirm"
                    | "confirms"
                    | "establish"
                    | "establishes"
                    | "clinch"
                    | "clinches"
                    | "证实"
                    | "证实为"
                    | "证明"
                    | "证明为"
                    | "确诊"
                    | "确诊为"
            )
        };
        let Some(at) = self.tokens.iter().position(proves) else {
            return;
        };
        let sentence = self.tokens[at].sentence;
        let of_sentence = |t: &&Token| t.sentence == sentence;
        let says = |t: &Token| t.is_stated() && kinds.has(t.category) && !t.is_modifier;
        let is_denied = self.tokens[at.saturating_sub(2)..at]
            .iter()
            .any(|t| t.role == Role::Negation);
        if is_denied
            || !self.tokens[at + 1..]
                .iter()
                .take_while(of_sentence)
                .any(says)
        {
            return;
        }
        let first = self.tokens[..at]
            .iter()
            .rev()
            .take_while(of_sentence)
            .count();
        for index in at - first..at {
            if self.tokens[index].is_content() && !self.tokens[index].is_aside {
                self.set_aside(index..index + 1, Standing::Superseded);
            }
        }
    }

    /// Sets aside the words before a conclusion that says something of one of the `kinds`.
    pub(super) fn settle_conclusion(&mut self, question: Option<&Question>, kinds: Kinds) {
        self.settle_proof(kinds);
        let restated = || {
            question
                .filter(|q| q.asks_for_content)
                .and_then(|q| q.restated_in(self))
        };
        let Some(start) = self
            .conclusion(
                kinds.has(Category::Finding),
                question.is_some_and(|q| q.has(&["which", "哪"])),
            )
            .or_else(restated)
            .or_else(|| self.recommendation(question))
        else {
            return;
        };
        let says = |t: &Token| t.is_stated() && kinds.has(t.category) && !t.is_modifier;
        if !self.tokens[start..].iter().any(says) {
            return;
        }
        // "箭头指向灰质，即尾状核": named more exactly
        let is_exact = matches!(
            self.word(&self.tokens[start]),
            "即" | "即为" | "此即" | "也就是" | "此"
        );
        for at in 0..start {
            let token = self.tokens[at];
            let is_firm = self.segments[token.segment as usize].is_firm && !is_exact;
            let is_named = is_exact && question.is_some_and(|q| q.names(&token));
            if token.is_content() && !token.is_aside && !is_firm && !is_named {
                self.set_aside(at..at + 1, Standing::Superseded);
            }
        }
    }

    /// Sets aside the numbers before a conclusion or a total ("there are 3 in total").
    pub(super) fn settle_total(&mut self) {
        let is_total = |t: &Token| {
            matches!(
                self.word(t),
                "total" | "altogether" | "共" | "共有" | "总共" | "合计" | "总计"
            )
        };
        let total = self.tokens.iter().find(|t| is_total(t)).map(|t| t.sentence);
        let of_total = || self.tokens.iter().position(|t| Some(t.sentence) == total);
        let Some(start) = self.conclusion(false, false).or_else(of_total) else {
            return;
        };
        if !self.tokens[start..]
            .iter()
            .any(|t| t.role == Role::Number && !t.is_aside)
        {
            return;
        }
        for at in 0..start {
            if self.tokens[at].role == Role::Number {
                self.set_aside(at..at + 1, Standing::Superseded);
            }
        }
    }

    /// The same for a yes or no: what was observed before gives way to it, an explicit yes or no does not.
    pub(super) fn settle_polar_conclusion(&mut self) {
        let Some(start) = self.conclusion(false, false) else {
            return;
        };
        if !self.tokens[start..]
            .iter()
            .any(|t| matches!(t.role, Role::Yes | Role::No) && !t.is_aside)
        {
            return;
        }
        for at in 0..start {
            let token = self.tokens[at];
            if !matches!(token.role, Role::Yes | Role::No) && !token.is_aside {
                self.set_aside(at..at + 1, Standing::Superseded);
            }
        }
    }

    /// "With mediastinal shift to the left": the side is where something went, not where the thing asked about is.
    pub(super) fn settle_shift(&mut self, question: Option<&Question>) {
        let Some(deviation) = super::lexicon::known!("finding.deviation") else {
            return;
        };
        if question.is_some_and(|q| q.parsed.content().any(|t| t.concept == deviation)) {
            return;
        }
        for at in 1..self.tokens.len() {
            let token = self.tokens[at];
            if token.category != Category::Side {
                continue;
            }
            let lead = &self.tokens[at.saturating_sub(LONGEST_LEAD)..at];
            let between = lead
                .iter()
                .rev()
                .take_while(|t| !t.is_content() && t.segment == token.segment)
                .count();
            let moves_to = lead[lead.len() - between..]
                .iter()
                .any(|t| matches!(self.word(t), "to" | "towards" | "toward" | "向" | "至"));
            let is_shift = lead
                .get((lead.len() - between).wrapping_sub(1))
                .is_some_and(|t| t.concept == deviation && t.segment == token.segment);
            // "with hemiparesis of the left side of the body": the symptom is on the other side
            let of_symptom = lead[..lead.len() - between].iter().rev().take(1).any(|t| {
                t.segment == token.segment
                    && matches!(
                        self.word(t),
                        "hemiparesis" | "hemiplegia" | "weakness" | "paralysis" | "numbness"
                    )
            });
            if of_symptom {
                self.set_aside(at..at + 1, Standing::Beside);
                continue;
            }
            let is_han_shift = self
                .tokens
                .get(at + 1)
                .is_some_and(|t| t.concept == deviation)
                && lead.last().is_some_and(|t| self.word(t) == "向");
            if is_shift && moves_to || is_han_shift {
                self.set_aside(at..at + 1, Standing::Beside);
            }
        }
    }

    /// "Image right, that is the patient's left": the patient's side is meant, unless the side of the image is asked.
    pub(super) fn settle_image_side(&mut self, asks_of_image: bool) {
        if !self.text.contains("patient")
            && !self.text.contains("患者")
            && !self.text.contains("病人")
        {
            return;
        }
        let owner = |parsed: &Self, segment: &Segment| {
            let has = |words: &[&str]| {
                parsed
                    .of(segment)
                    .iter()
                    .any(|t| words.iter().any(|w| parsed.word(t).contains(w)))
            };
            let (patient, image) = (
                has(&["patient", "患者", "病人"]),
                has(&["image", "picture", "screen", "film", "图"]),
            );
            let has_side = parsed
                .of(segment)
                .iter()
                .any(|t| t.category == Category::Side);
            let (of_patient, of_image) = (patient && !image, image && !patient);
            if asks_of_image {
                (has_side && of_image, has_side && of_patient)
            } else {
                (has_side && of_patient, has_side && of_image)
            }
        };
        let owners: Vec<(bool, bool)> = self.segments.iter().map(|s| owner(self, s)).collect();
        if !owners.iter().any(|o| o.0) || !owners.iter().any(|o| o.1) {
            return;
        }
        for (index, (_, is_other)) in owners.into_iter().enumerate() {
            let segment = self.segments[index];
            if !is_other {
                self.segments[index].is_detail = false;
                self.segments[index].is_side_remark = false;
                continue;
            }
            for at in segment.first as usize..segment.end as usize {
                if self.tokens[at].category == Category::Side {
                    self.set_aside(at..at + 1, Standing::Beside);
                }
            }
        }
    }
}

/// "On which side of the image …?"
pub(super) fn asks_side_of_image(question: &Question) -> bool {
    question.has(&[
        "side of the image",
        "side of the picture",
        "side of the film",
        "side of the screen",
        "side of the photo",
        "side of this image",
        "side of this picture",
        "half of the image",
        "half of the picture",
        "part of the image",
        "part of the picture",
        "image side",
        "图像的哪",
        "图像哪",
        "图片的哪",
        "图片哪",
        "图的哪",
        "画面的哪",
        "画面哪",
        "影像的哪",
        "片子的哪",
    ])
}
