//! Quantities: a number with its unit, compared after conversion.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::lexicon::Role;
use super::tokens::{Bound, Parsed, Token};

/// What a unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// No unit: a count.
    Count,
    /// Length, in millimetres.
    Length,
    /// Area, in square millimetres.
    Area,
    /// Volume, in millilitres.
    Volume,
    /// Mass, in grams.
    Mass,
    /// Time, in days.
    Time,
    /// Share, in percent.
    Percent,
    /// Temperature, in degrees Celsius.
    Temperature,
    /// Angle, in degrees.
    Angle,
    /// Attenuation, in Hounsfield units.
    Attenuation,
    /// Rate, per minute.
    Rate,
    /// Pressure, in millimetres of mercury.
    Pressure,
    /// Magnetic field, in tesla.
    Field,
    /// Mass in a volume, in milligrams per decilitre.
    Concentration,
    /// Amount in a volume, in millimoles per litre.
    Molarity,
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    /// Value in the base unit of its dimension.
    pub value: f64,
    /// What is measured.
    pub dimension: Dimension,
    /// Index of the number's token.
    pub token: usize,
    /// Tokens that spell the unit.
    pub unit_tokens: usize,
    /// What is said of it: "less than", "at least".
    pub bound: Bound,
}

/// Largest relative difference at which two lengths, areas or volumes still agree.
pub const TOLERANCE: f64 = 0.05;

impl Quantity {
    /// Whether both name the same amount: counts exactly, measured sizes within [`TOLERANCE`].
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        if self.dimension == Dimension::Count
            && other.dimension == Dimension::Percent
            && self.bound == other.bound
            && self.value > 0.0
            && self.value < 1.0
        {
            return (100.0 * self.value - other.value).abs() <= 1e-6; // 0.35 is 35 %
        }
        let is_unit_left_out = self.dimension == Dimension::Count && has_one_unit(other.dimension);
        if self.dimension != other.dimension && !is_unit_left_out
            || direction(self.bound) != direction(other.bound)
        {
            return false;
        }
        let tolerance = match other.dimension {
            Dimension::Length | Dimension::Area | Dimension::Volume | Dimension::Mass => {
                TOLERANCE * other.value.abs()
            }
            Dimension::Temperature => 0.1,
            Dimension::Count
            | Dimension::Time
            | Dimension::Percent
            | Dimension::Angle
            | Dimension::Attenuation
            | Dimension::Rate
            | Dimension::Pressure
            | Dimension::Field
            | Dimension::Concentration
            | Dimension::Molarity => 0.0,
        };
        (self.value - other.value).abs() <= tolerance + 1e-9
    }
}

/// What is measured in one unit only, which may be left out.
const fn has_one_unit(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Rate
            | Dimension::Pressure
            | Dimension::Attenuation
            | Dimension::Percent
            | Dimension::Field
            | Dimension::Concentration
            | Dimension::Molarity
    )
}

/// 0 for the number itself, -1 for less, 1 for more.
const fn direction(bound: Bound) -> i8 {
    match bound {
        Bound::Exact => 0,
        Bound::Below | Bound::AtMost => -1,
        Bound::Above | Bound::AtLeast => 1,
    }
}

/// Whether an amount `said` lies within what `asked` allows; None where they cannot be compared.
#[must_use]
pub fn fulfils(said: &Quantity, asked: &Quantity) -> Option<bool> {
    if said.dimension != asked.dimension {
        return None;
    }
    let (value, limit) = (said.value, asked.value);
    match (said.bound, asked.bound) {
        (Bound::Exact, Bound::Exact) => Some(said.agrees_with(asked)),
        (Bound::Exact, Bound::Below) => Some(value < limit),
        (Bound::Exact, Bound::AtMost) => Some(value <= limit),
        (Bound::Exact, Bound::Above) => Some(value > limit),
        (Bound::Exact, Bound::AtLeast) => Some(value >= limit),
        (Bound::Below | Bound::AtMost, Bound::Below | Bound::AtMost) if value <= limit => {
            Some(true)
        }
        (Bound::Above | Bound::AtLeast, Bound::Above | Bound::AtLeast) if value >= limit => {
            Some(true)
        }
        (Bound::Below | Bound::AtMost, Bound::Above | Bound::AtLeast) if value <= limit => {
            Some(false)
        }
        (Bound::Above | Bound::AtLeast, Bound::Below | Bound::AtMost) if value >= limit => {
            Some(false)
        }
        _ => None,
    }
}

/// Quantities of an answer, in order, denied ones left out.
#[must_use]
pub fn quantities(parsed: &Parsed) -> Vec<Quantity> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < parsed.tokens.len() {
        let token = &parsed.tokens[at];
        if token.role == Role::Number && !token.is_negated && !token.is_aside {
            let (mut dimension, factor, unit_tokens) = unit_after(parsed, at);
            if at > 0 && word(parsed, &parsed.tokens[at - 1]) == "百分之" {
                dimension = Dimension::Percent;
            }
            let bound = bound_after(parsed, at + unit_tokens).unwrap_or(token.bound);
            let is_below_zero =
                matches!(dimension, Dimension::Attenuation | Dimension::Temperature)
                    && has_minus(&parsed.text[..token.start as usize]);
            let sign = if is_below_zero { -1.0 } else { 1.0 };
            let value = sign
                * if factor.is_nan() {
                    (token.value - 32.0) / 1.8
                } else {
                    token.value * factor
                };
            found.push(Quantity {
                value,
                dimension,
                token: at,
                unit_tokens,
                bound,
            });
            at += unit_tokens;
        }
        at += 1;
    }
    // "3 x 4 cm": a bare number takes the unit of the next one
    for index in (0..found.len().saturating_sub(1)).rev() {
        let next = found[index + 1];
        let is_product = parsed.tokens[found[index].token + 1..next.token]
            .iter()
            .all(|t| is_times(parsed, t) || is_range_and(parsed, found[index].token, t));
        if found[index].dimension == Dimension::Count
            && next.dimension != Dimension::Count
            && parsed.tokens[next.token].value != 0.0
            && is_product
        {
            let token = parsed.tokens[next.token];
            found[index].value *= next.value / token.value;
            found[index].dimension = next.dimension;
        }
    }
    found
}

/// A minus sign ends the text, and no word stands before it.
fn has_minus(text: &str) -> bool {
    text.strip_suffix('-')
        .is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric()))
}

/// "Or more", "以上" after a number and its unit.
fn bound_after(parsed: &Parsed, last: usize) -> Option<Bound> {
    let tail = parsed.text[parsed.tokens[last].end as usize..].trim_start();
    let starts = |words: &[&str]| words.iter().any(|w| tail.starts_with(w));
    if starts(&[
        "or less",
        "or smaller",
        "or fewer",
        "or below",
        "以下",
        "以内",
        "之内",
    ]) {
        return Some(Bound::AtMost);
    }
    starts(&["or more", "or larger", "or greater", "or above", "以上"]).then_some(Bound::AtLeast)
}

/// The "and" of "between 5 and 10".
fn is_range_and(parsed: &Parsed, first: usize, token: &Token) -> bool {
    let lead = first
        .checked_sub(1)
        .map(|i| word(parsed, &parsed.tokens[i]));
    matches!(word(parsed, token), "and" | "和" | "与")
        && matches!(lead, Some("between" | "介于" | "在"))
}

/// Whether the token stands between the sides of a size ("3 x 4 cm", "2 to 3 cm").
#[must_use]
pub fn is_times(parsed: &Parsed, token: &Token) -> bool {
    matches!(
        word(parsed, token),
        "x" | "by" | "to" | "*" | "×" | "至" | "到" | "乘" | "through"
    )
}

fn word<'a>(parsed: &'a Parsed, token: &Token) -> &'a str {
    &parsed.text[token.start as usize..token.end as usize]
}

/// Dimension of the unit and its factor to the base unit.
#[must_use]
pub fn unit_named(name: &str) -> Option<(Dimension, f64)> {
    static NAMES: LazyLock<FxHashMap<&str, (Dimension, f64)>> = LazyLock::new(|| {
        let known = UNITS.iter().filter(|unit| !unit.2.is_nan());
        known.map(|unit| (unit.0, (unit.1, unit.2))).collect()
    });
    NAMES.get(name).copied()
}

fn unit_after(parsed: &Parsed, at: usize) -> (Dimension, f64, usize) {
    let tail = &parsed.text[parsed.tokens[at].end as usize..];
    let tail = tail.trim_start_matches([' ', '-']);
    let found = UNITS.iter().filter(|(name, _, _)| {
        tail.strip_prefix(name).is_some_and(|rest| {
            !name.as_bytes()[name.len() - 1].is_ascii_alphabetic()
                || rest
                    .as_bytes()
                    .first()
                    .is_none_or(|b| !b.is_ascii_alphanumeric())
        })
    });
    let Some(&(name, dimension, factor)) = found.max_by_key(|(name, _, _)| name.len()) else {
        return (Dimension::Count, 1.0, 0);
    };
    let unit_end = parsed.text.len() - tail.len() + name.len();
    let unit_tokens = parsed.tokens[at + 1..]
        .iter()
        .take_while(|t| (t.start as usize) < unit_end)
        .count();
    (dimension, factor, unit_tokens)
}

/// Spelling, dimension, factor to the base unit; NaN marks degrees Fahrenheit.
const UNITS: &[(&str, Dimension, f64)] = &[
    ("mm", Dimension::Length, 1.0),
    ("millimeter", Dimension::Length, 1.0),
    ("millimeters", Dimension::Length, 1.0),
    ("millimetre", Dimension::Length, 1.0),
    ("millimetres", Dimension::Length, 1.0),
    ("毫米", Dimension::Length, 1.0),
    ("cm", Dimension::Length, 10.0),
    ("cms", Dimension::Length, 10.0),
    ("centimeter", Dimension::Length, 10.0),
    ("centimeters", Dimension::Length, 10.0),
    ("centimetre", Dimension::Length, 10.0),
    ("centimetres", Dimension::Length, 10.0),
    ("厘米", Dimension::Length, 10.0),
    ("公分", Dimension::Length, 10.0),
    ("m", Dimension::Length, 1000.0),
    ("meter", Dimension::Length, 1000.0),
    ("meters", Dimension::Length, 1000.0),
    ("米", Dimension::Length, 1000.0),
    ("um", Dimension::Length, 0.001),
    ("μm", Dimension::Length, 0.001),
    ("微米", Dimension::Length, 0.001),
    ("inch", Dimension::Length, 25.4),
    ("inches", Dimension::Length, 25.4),
    ("mm2", Dimension::Area, 1.0),
    ("cm2", Dimension::Area, 100.0),
    ("平方厘米", Dimension::Area, 100.0),
    ("平方毫米", Dimension::Area, 1.0),
    ("ml", Dimension::Volume, 1.0),
    ("milliliters", Dimension::Volume, 1.0),
    ("milliliter", Dimension::Volume, 1.0),
    ("cc", Dimension::Volume, 1.0),
    ("cm3", Dimension::Volume, 1.0),
    ("毫升", Dimension::Volume, 1.0),
    ("l", Dimension::Volume, 1000.0),
    ("liter", Dimension::Volume, 1000.0),
    ("liters", Dimension::Volume, 1000.0),
    ("升", Dimension::Volume, 1000.0),
    ("mg", Dimension::Mass, 0.001),
    ("毫克", Dimension::Mass, 0.001),
    ("g", Dimension::Mass, 1.0),
    ("gram", Dimension::Mass, 1.0),
    ("grams", Dimension::Mass, 1.0),
    ("克", Dimension::Mass, 1.0),
    ("kg", Dimension::Mass, 1000.0),
    ("公斤", Dimension::Mass, 1000.0),
    ("千克", Dimension::Mass, 1000.0),
    ("hour", Dimension::Time, 1.0 / 24.0),
    ("hours", Dimension::Time, 1.0 / 24.0),
    ("小时", Dimension::Time, 1.0 / 24.0),
    ("day", Dimension::Time, 1.0),
    ("days", Dimension::Time, 1.0),
    ("天", Dimension::Time, 1.0),
    ("week", Dimension::Time, 7.0),
    ("weeks", Dimension::Time, 7.0),
    ("周", Dimension::Time, 7.0),
    ("month", Dimension::Time, 30.4375),
    ("months", Dimension::Time, 30.4375),
    ("个月", Dimension::Time, 30.4375),
    ("year", Dimension::Time, 365.25),
    ("years", Dimension::Time, 365.25),
    ("year old", Dimension::Time, 365.25),
    ("years old", Dimension::Time, 365.25),
    ("yo", Dimension::Time, 365.25),
    ("y/o", Dimension::Time, 365.25),
    ("yrs", Dimension::Time, 365.25),
    ("yr", Dimension::Time, 365.25),
    ("岁", Dimension::Time, 365.25),
    ("年", Dimension::Time, 365.25),
    ("%", Dimension::Percent, 1.0),
    ("percent", Dimension::Percent, 1.0),
    ("°c", Dimension::Temperature, 1.0),
    ("°f", Dimension::Temperature, f64::NAN),
    ("degrees celsius", Dimension::Temperature, 1.0),
    ("degrees fahrenheit", Dimension::Temperature, f64::NAN),
    ("摄氏度", Dimension::Temperature, 1.0),
    ("°", Dimension::Angle, 1.0),
    ("degree", Dimension::Angle, 1.0),
    ("degrees", Dimension::Angle, 1.0),
    ("度", Dimension::Angle, 1.0),
    ("bpm", Dimension::Rate, 1.0),
    ("beats per minute", Dimension::Rate, 1.0),
    ("beats/min", Dimension::Rate, 1.0),
    ("/min", Dimension::Rate, 1.0),
    ("breaths per minute", Dimension::Rate, 1.0),
    ("per minute", Dimension::Rate, 1.0),
    ("次/分", Dimension::Rate, 1.0),
    ("次/分钟", Dimension::Rate, 1.0),
    ("次每分", Dimension::Rate, 1.0),
    ("次每分钟", Dimension::Rate, 1.0),
    ("mg/dl", Dimension::Concentration, 1.0),
    ("g/dl", Dimension::Concentration, 1000.0),
    ("g/l", Dimension::Concentration, 100.0),
    ("mg/l", Dimension::Concentration, 0.1),
    ("ng/ml", Dimension::Concentration, 0.0001),
    ("mmol/l", Dimension::Molarity, 1.0),
    ("umol/l", Dimension::Molarity, 0.001),
    ("μmol/l", Dimension::Molarity, 0.001),
    ("t", Dimension::Field, 1.0),
    ("tesla", Dimension::Field, 1.0),
    ("特斯拉", Dimension::Field, 1.0),
    ("mmhg", Dimension::Pressure, 1.0),
    ("mm hg", Dimension::Pressure, 1.0),
    ("millimeters of mercury", Dimension::Pressure, 1.0),
    ("毫米汞柱", Dimension::Pressure, 1.0),
    ("per cent", Dimension::Percent, 1.0),
    ("pct", Dimension::Percent, 1.0),
    ("cubic centimeters", Dimension::Volume, 1.0),
    ("millilitres", Dimension::Volume, 1.0),
    ("litre", Dimension::Volume, 1000.0),
    ("litres", Dimension::Volume, 1000.0),
    ("wk", Dimension::Time, 7.0),
    ("wks", Dimension::Time, 7.0),
    ("星期", Dimension::Time, 7.0),
    ("日", Dimension::Time, 1.0),
    ("h", Dimension::Time, 1.0 / 24.0),
    ("hrs", Dimension::Time, 1.0 / 24.0),
    ("min", Dimension::Time, 1.0 / 1440.0),
    ("minutes", Dimension::Time, 1.0 / 1440.0),
    ("minute", Dimension::Time, 1.0 / 1440.0),
    ("分钟", Dimension::Time, 1.0 / 1440.0),
    ("kilograms", Dimension::Mass, 1000.0),
    ("milligrams", Dimension::Mass, 0.001),
    ("micrometers", Dimension::Length, 0.001),
    ("hu", Dimension::Attenuation, 1.0),
    ("hounsfield units", Dimension::Attenuation, 1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Quantity {
        quantities(&Parsed::new(text))[0]
    }

    #[test]
    fn lengths_agree_over_units() {
        assert!(first("5 cm").agrees_with(&first("50mm")));
        assert!(first("about 5.1 cm").agrees_with(&first("5 cm")));
        assert!(!first("5 cm").agrees_with(&first("5 mm")));
        assert!(!first("5").agrees_with(&first("5 mm")));
    }

    #[test]
    fn counts_are_exact_in_digits_and_words() {
        assert!(first("two masses").agrees_with(&first("2")));
        assert!(first("两个").agrees_with(&first("2")));
        assert!(!first("3").agrees_with(&first("2")));
    }
}
