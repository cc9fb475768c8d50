//! What a message says, in which words and order, before a channel gives it its form.

use chrono::{DateTime, Utc};

use super::text;
use crate::model::{ActionItem, Analysis, CallBrief, Direction, Envelope, Party, Statement};

/// A name or a number is never longer than this.
const NAME_LIMIT: usize = 80;
/// A statement or an action item is never longer than this.
const LINE_LIMIT: usize = 1_000;
/// More statements or action items than this are for the call's page.
const LINES: usize = 25;
/// A subject that still shows whole in a list of mails.
const SUBJECT_LIMIT: usize = 140;

/// Said after a claim that no line of the transcript supports.
pub const NOT_CONFIRMED: &str = "(not confirmed by the transcript)";

/// A call in words. Every text is clean (see [`text::clean`]) and short, and still needs the escaping of its channel.
#[derive(Debug, Clone)]
pub struct Wording {
    /// Who called whom.
    pub title: String,
    /// How urgent, in which mood; `None` without an analysis.
    pub judgement: Option<Judgement>,
    /// What about; what is not confirmed comes last.
    pub statements: Vec<Line>,
    /// What stands in place of a summary when there is none.
    pub instead: Option<&'static str>,
    /// What to do; what is not confirmed comes last.
    pub action_items: Vec<Task>,
    /// Facts with their names, in the order of reading.
    pub facts: Vec<(&'static str, String)>,
    /// The call's page: the only link.
    pub link: String,
    /// The sender's id of the call.
    pub external_id: String,
    /// Our id of the call.
    pub call_id: String,
    /// An earlier try may have arrived.
    pub possible_repeat: bool,
    /// Something was left out.
    pub shortened: bool,
}

/// What the model thinks of the call; shown as its word, not ours.
#[derive(Debug, Clone, Copy)]
pub struct Judgement {
    /// `Today`.
    pub urgency: &'static str,
    /// Urgency 4 or 5.
    pub urgent: bool,
    /// `Upset`.
    pub mood: &'static str,
}

/// A statement of the summary.
#[derive(Debug, Clone)]
pub struct Line {
    /// The sentence.
    pub text: String,
    /// False: say so.
    pub confirmed: bool,
}

/// An action item.
#[derive(Debug, Clone)]
pub struct Task {
    /// What to do.
    pub text: String,
    /// Who, until when: `Dana · until Fri 20 Nov, 17:00`.
    pub who_and_when: String,
    /// False: say so.
    pub confirmed: bool,
}

impl Wording {
    /// The words for one call and one destination. The same brief and envelope give the same words.
    pub fn of(brief: &CallBrief, envelope: &Envelope) -> Self {
        let analysis = brief.analysis.as_ref();
        let statements: Vec<Line> = analysis.map(statements).unwrap_or_default();
        let action_items: Vec<Task> =
            analysis.map(|analysis| action_items(analysis, brief, envelope.date)).unwrap_or_default();
        Self {
            title: title(brief),
            judgement: analysis.map(judgement),
            instead: statements.is_empty().then(|| instead(brief)),
            shortened: analysis.is_some_and(is_long),
            statements,
            action_items,
            facts: facts(brief, envelope.date),
            link: brief.link.as_str().replace('|', "%7C"),
            external_id: text::cut(&text::clean(&brief.external_id), NAME_LIMIT),
            call_id: brief.call_id.to_string(),
            possible_repeat: envelope.possible_repeat,
        }
    }

    /// The whole message in one line, for subjects and notifications: `Today (AI): Ines called Support: charged twice`.
    pub fn headline(&self) -> String {
        let urgency = self.judgement.filter(|judgement| judgement.urgent);
        let urgency = urgency.map(|judgement| format!("{} (AI): ", judgement.urgency)).unwrap_or_default();
        let about = match self.statements.iter().find(|line| line.confirmed) {
            Some(line) => format!(": {}", line.text),
            None if self.judgement.is_none() => " (no recording)".to_owned(),
            None => String::new(),
        };
        text::cut(&format!("{urgency}{}{about}", self.title), SUBJECT_LIMIT)
    }
}

fn title(brief: &CallBrief) -> String {
    let from = name(&brief.caller).unwrap_or_else(|| "Unknown caller".to_owned());
    match (name(&brief.called), brief.direction) {
        (Some(to), _) => format!("{from} called {to}"),
        (None, Direction::Inbound) => format!("{from} called us"),
        (None, Direction::Outbound | Direction::Unknown) => format!("{from} called an unknown number"),
    }
}

fn statements(analysis: &Analysis) -> Vec<Line> {
    let line = |statement: &Statement| Line { text: line(&statement.text), confirmed: statement.supported };
    let mut lines: Vec<Line> =
        analysis.statements.iter().map(line).filter(|line| !line.text.is_empty()).take(LINES).collect();
    lines.sort_by_key(|line| !line.confirmed);
    lines
}

fn action_items(analysis: &Analysis, brief: &CallBrief, reference: DateTime<Utc>) -> Vec<Task> {
    let task = |item: &ActionItem| {
        let owner = item.owner.as_deref().map(short).filter(|owner| !owner.is_empty());
        let owner = owner.unwrap_or_else(|| "Nobody yet".to_owned());
        let due = match (item.due_at, item.due_words.as_deref().map(short)) {
            (Some(at), _) => Some(format!("until {}", text::until(at, brief.time_zone, reference))),
            (None, Some(words)) if !words.is_empty() => Some(format!("“{words}”")),
            (None, _) => None,
        };
        Task {
            text: line(&item.text).trim_end_matches('.').to_owned(),
            who_and_when: [Some(owner), due].into_iter().flatten().collect::<Vec<_>>().join(" · "),
            confirmed: item.supported,
        }
    };
    let mut tasks: Vec<Task> =
        analysis.action_items.iter().map(task).filter(|task| !task.text.is_empty()).take(LINES).collect();
    tasks.sort_by_key(|task| !task.confirmed);
    tasks
}

fn judgement(analysis: &Analysis) -> Judgement {
    Judgement {
        urgency: text::urgency(analysis.urgency),
        urgent: analysis.urgency >= 4,
        mood: text::mood(analysis.sentiment),
    }
}

fn instead(brief: &CallBrief) -> &'static str {
    if brief.analysis.is_some() {
        return "No summary: nothing was said that could be summed up.";
    }
    match (brief.direction, brief.duration_seconds) {
        (Direction::Inbound, Some(0)) => "Missed call. No recording, so there is no summary.",
        _ => "No recording, so there is no summary.",
    }
}

fn facts(brief: &CallBrief, reference: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let started = brief.started_at.map(|at| {
        let zone = at.with_timezone(&brief.time_zone).format("%Z");
        format!("{} {zone}", text::moment(at, brief.time_zone, reference))
    });
    let direction = match brief.direction {
        Direction::Inbound => Some("inbound"),
        Direction::Outbound => Some("outbound"),
        Direction::Unknown => None,
    };
    let started = match (started, direction) {
        (Some(started), Some(direction)) => Some(format!("{started} · {direction}")),
        (started, _) => started,
    };
    [
        ("Caller", Some(name_and_number(&brief.caller))),
        ("Called", Some(name_and_number(&brief.called))),
        ("Started", started),
        ("Length", brief.duration_seconds.map(text::duration)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// Whether something of the analysis does not fit the limits above.
fn is_long(analysis: &Analysis) -> bool {
    let texts = || {
        let statements = analysis.statements.iter().map(|statement| &statement.text);
        statements.chain(analysis.action_items.iter().map(|item| &item.text))
    };
    analysis.statements.len() > LINES
        || analysis.action_items.len() > LINES
        || texts().any(|text| text::length(&text::clean(text)) > LINE_LIMIT)
}

fn name(party: &Party) -> Option<String> {
    let known = |value: &Option<String>| value.as_deref().map(short).filter(|value| !value.is_empty());
    known(&party.name).or_else(|| known(&party.number))
}

fn name_and_number(party: &Party) -> String {
    let number = party.number.as_deref().map(short).filter(|number| !number.is_empty());
    match (name(party), number) {
        (Some(name), Some(number)) if name != number => format!("{name}, {number}"),
        (Some(name), _) => name,
        (None, _) => "Unknown".to_owned(),
    }
}

fn short(text: &str) -> String {
    text::cut(&text::clean(text), NAME_LIMIT)
}

fn line(text: &str) -> String {
    text::cut(&text::clean(text), LINE_LIMIT)
}
