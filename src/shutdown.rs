//! When to stop: SIGTERM and Ctrl-C, told once to everybody; and what systemd wants to hear about it.
//!
//! The talk with systemd is datagrams to `$NOTIFY_SOCKET` (`sd_notify(3)`); without that variable nothing is said.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Tells everybody that holds a clone when to stop. Clones are cheap and share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that only [`Shutdown::request`] sets off.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// One that SIGTERM or SIGINT (Ctrl-C) sets off. A Ctrl-C after that ends the process at once with exit code 130
    /// and without any clean-up, which is what a kill would do too: leases run out and are rescued, a private database
    /// recovers when it is started again. A second SIGTERM changes nothing: systemd follows up with SIGKILL by itself.
    ///
    /// Call it inside the runtime, once per process. The error is the operating system's refusal of the handlers.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::new();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        tokio::spawn(listen(shutdown.clone(), interrupt, terminate));
        Ok(shutdown)
    }

    /// Ends when it is time to stop; at once if it has been for a while. May be awaited by any number of tasks.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether it is time to stop.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Says that it is time to stop. May be repeated.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// The token behind it, for libraries that want one. Cancelling it is [`Shutdown::request`].
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

async fn listen(shutdown: Shutdown, mut interrupt: Signal, mut terminate: Signal) {
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        () = shutdown.requested() => "a request from inside",
    };
    info!("stopping after {name}: running work may end; Ctrl-C ends the process at once");
    shutdown.request();
    interrupt.recv().await;
    exit_at_once();
}

#[expect(clippy::disallowed_methods, reason = "the one exit besides main's: the second Ctrl-C, when main may hang")]
fn exit_at_once() -> ! {
    std::process::exit(INTERRUPTED)
}

/// Tells systemd that the service is ready, with a line for `systemctl status`. May be repeated.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// Gives `systemctl status` another line, for instance that the database is being waited for.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(&one_line(status))]);
}

/// Tells systemd that the service is on its way out. May be repeated.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Starts the sign of life that systemd's `WatchdogSec=` waits for, at a third of its time; `None` where nobody waits.
///
/// It comes from the runtime on purpose: when the runtime is frozen, the pings end and systemd restarts the service.
/// It goes on during a stop and while the database is away. Call it inside the runtime; it ends with it.
pub fn watchdog() -> Option<JoinHandle<()>> {
    let period = watchdog_period(sd_notify::watchdog_enabled()?);
    Some(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }))
}

/// A third: one lost ping does no harm (`sd_watchdog_enabled(3)` advises half or less).
fn watchdog_period(limit: Duration) -> Duration {
    (limit / 3).max(Duration::from_millis(1))
}

/// A line break would begin another assignment.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told; its socket is in NOTIFY_SOCKET");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_every_clone() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert!(!shutdown.is_requested());
        shutdown.clone().request();
        shutdown.request();
        waiting.await.unwrap();
        shutdown.requested().await;
        assert!(shutdown.is_requested() && shutdown.token().is_cancelled());
    }

    #[test]
    fn pings_come_three_times_in_the_time_allowed() {
        assert_eq!(watchdog_period(Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(watchdog_period(Duration::ZERO), Duration::from_millis(1));
    }

    #[test]
    fn a_status_stays_on_its_line() {
        assert_eq!(one_line("a\nMAINPID=1\r"), "a MAINPID=1 ");
    }
}
