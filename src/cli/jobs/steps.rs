//! `jobs pause`, `resume` and `limit`: what operators say of a whole step.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use crate::cli::Failure;
use crate::cli::render::{Ink, Page, Screen, clean, print, print_json, words};
use crate::cli::session::Session;
use crate::pipeline::{self, operate};
use crate::queue::{self, StepControl};

/// Longest reason of a pause.
const MOST_REASON: usize = 500;

#[derive(Args)]
pub struct PauseArgs {
    /// Step.
    #[arg(value_parser = PossibleValuesParser::new(pipeline::names()))]
    step: String,
    /// Why, for those who find it paused.
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ResumeArgs {
    /// Step.
    #[arg(value_parser = PossibleValuesParser::new(pipeline::names()))]
    step: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct LimitArgs {
    /// Step.
    #[arg(value_parser = PossibleValuesParser::new(pipeline::names()))]
    step: String,
    /// Jobs at the same time in each worker process, 1 to 1000; `default` = as its settings say.
    #[arg(value_name = "N", value_parser = parse_slots)]
    slots: Slots,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `None` = default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slots(Option<i32>);

/// What is said of the step now, and whether this command changed it: `--json` of all three.
#[derive(Serialize)]
struct StepJson {
    #[serde(flatten)]
    control: StepControl,
    changed: bool,
}

pub async fn pause(session: &Session, args: PauseArgs) -> Result<(), Failure> {
    let changed = operate::pause(&session.db, &session.actor, &args.step, args.reason.as_deref()).await?;
    let control = control(session, args.step).await?;
    if args.json {
        return Ok(print_json(&StepJson { control, changed })?);
    }
    Ok(print(&told_paused(&session.screen, &control, changed))?)
}

pub async fn resume(session: &Session, args: ResumeArgs) -> Result<(), Failure> {
    let changed = operate::resume(&session.db, &session.actor, &args.step).await?;
    let control = control(session, args.step).await?;
    if args.json {
        return Ok(print_json(&StepJson { control, changed })?);
    }
    let step = &control.step;
    let told = if changed {
        format!("{step} goes on, within 2 s.\n")
    } else {
        format!("{step} was not paused; it goes on.\n")
    };
    Ok(print(&told)?)
}

pub async fn limit(session: &Session, args: LimitArgs) -> Result<(), Failure> {
    let changed = operate::limit(&session.db, &session.actor, &args.step, args.slots.0).await?;
    let control = control(session, args.step).await?;
    if args.json {
        return Ok(print_json(&StepJson { control, changed })?);
    }
    let (step, was) = (&control.step, if changed { "From now on" } else { "As before" });
    let many = match control.slots {
        Some(1) => "1 job at a time".to_owned(),
        Some(slots) => format!("{slots} jobs at the same time"),
        None => "as many jobs at the same time as its settings say".to_owned(),
    };
    Ok(print(&format!("{was} each worker process runs {many} of {step}. What runs goes on.\n"))?)
}

async fn control(session: &Session, step: String) -> Result<StepControl, Failure> {
    let known = queue::controls(&session.db).await?.into_iter().find(|control| control.step == step);
    let nothing =
        || StepControl { step, paused_at: None, paused_by: None, pause_reason: None, slots: None, limited_by: None };
    Ok(known.unwrap_or_else(nothing))
}

fn told_paused(screen: &Screen, control: &StepControl, changed: bool) -> String {
    let step = &control.step;
    let mut page = Page::new(screen);
    if changed {
        page.text(0, Ink::Plain, &format!("Within 2 s nothing more of {step} is taken. What runs goes on."));
    } else {
        page.text(0, Ink::Plain, &format!("{step} was paused before, and stays so."));
    }
    let pause =
        words::pause(screen, step, control.paused_at, control.paused_by.as_deref(), control.pause_reason.as_deref());
    page.text(0, Ink::Plain, &pause.unwrap_or_default());
    page.command(&format!("jobs resume {step}"));
    page.finish()
}

fn parse_slots(text: &str) -> Result<Slots, String> {
    match text.parse() {
        Ok(slots @ 1..=1000) => Ok(Slots(Some(slots))),
        Ok(0) => Err("none at all is `jobs pause`".to_owned()),
        _ if text == "default" => Ok(Slots(None)),
        _ => Err("it is a number from 1 to 1000, or `default`".to_owned()),
    }
}

pub(super) fn parse_reason(text: &str) -> Result<String, String> {
    let reason = clean(text).trim().to_owned();
    let fits = (1..=MOST_REASON).contains(&reason.chars().count());
    if fits { Ok(reason) } else { Err(format!("a reason has 1 to {MOST_REASON} characters")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::jobs::samples::at;

    fn paused() -> StepControl {
        StepControl {
            step: "transcribe".to_owned(),
            paused_at: Some(at("06:21:00")),
            paused_by: Some("dana@desk".to_owned()),
            pause_reason: Some("The vendor moves its servers.".to_owned()),
            slots: None,
            limited_by: None,
        }
    }

    #[test]
    fn a_pause_says_how_it_ends() {
        insta::assert_snapshot!("paused", told_paused(&Screen::for_tests(), &paused(), true));
        let told = told_paused(&Screen::for_tests(), &paused(), false);
        assert!(told.starts_with("transcribe was paused before, and stays so."), "{told}");
    }

    #[test]
    fn limits_are_numbers_or_the_default() {
        assert_eq!(parse_slots("4"), Ok(Slots(Some(4))));
        assert_eq!(parse_slots("default"), Ok(Slots(None)));
        assert!(parse_slots("0").unwrap_err().contains("jobs pause"));
        assert!(parse_slots("1001").is_err() && parse_slots("many").is_err());
    }

    #[test]
    fn json_keeps_its_shape() {
        insta::assert_json_snapshot!("step", StepJson { control: paused(), changed: true });
    }
}
