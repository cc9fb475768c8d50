//! How a mail server misbehaves, stage by stage (RFC 5321, sections 3.8 and 4.2; RFC 1047).

use super::Stage;
use super::catalogue::{Act, Fault, MailAct};
use crate::dev::standins::Upstream;

pub(super) fn faults() -> Vec<Fault> {
    use MailAct::{Cut, Say, Silence};
    use Stage::{Content, Data, Dot, Greeting, Hello, Login, Recipient, Sender};
    let fault = |name, does, stage, act| Fault { upstream: Upstream::Smtp, name, does, act: Act::Mail(stage, act) };
    vec![
        fault("greeting_421", "greets with 421 and closes", Greeting, Say("421 4.3.2 Too busy, come again")),
        fault("greeting_554", "greets with 554", Greeting, Say("554 5.3.2 No service here")),
        fault("greeting_cut", "closes instead of a greeting", Greeting, Cut),
        fault("greeting_silence", "never greets", Greeting, Silence),
        fault("hello_421", "answers EHLO with 421 and closes", Hello, Say("421 4.3.2 Closing down")),
        fault("login_535", "offers a login and refuses it with 535", Login, Say("535 5.7.8 Bad credentials")),
        fault("login_454", "offers a login that is out of order, 454", Login, Say("454 4.7.0 Login is out of order")),
        fault("sender_421", "answers MAIL FROM with 421 and closes", Sender, Say("421 4.3.2 Closing down")),
        fault("sender_450", "greylists, 450 to MAIL FROM", Sender, Say("450 4.2.0 Greylisted, come again")),
        fault("sender_451", "answers MAIL FROM with 451", Sender, Say("451 4.3.0 Local error")),
        fault("sender_530", "answers MAIL FROM with 530", Sender, Say("530 5.7.0 Authentication required")),
        fault("sender_550", "refuses the sender with 550", Sender, Say("550 5.7.1 Sender refused")),
        fault("sender_cut", "closes after MAIL FROM", Sender, Cut),
        fault("recipient_450", "answers RCPT TO with 450", Recipient, Say("450 4.2.1 Mailbox busy")),
        fault("recipient_451", "answers RCPT TO with 451", Recipient, Say("451 4.3.0 Local error")),
        fault("recipient_550", "refuses the recipient with 550", Recipient, Say("550 5.1.1 No such mailbox")),
        fault("recipient_552", "refuses the recipient with 552", Recipient, Say("552 5.2.2 Mailbox full")),
        fault("recipient_cut", "closes after RCPT TO", Recipient, Cut),
        fault("data_451", "answers DATA with 451", Data, Say("451 4.3.0 Local error")),
        fault("data_552", "answers DATA with 552", Data, Say("552 5.3.4 Too large")),
        fault("data_554", "answers DATA with 554", Data, Say("554 5.5.1 No valid recipients")),
        fault("data_cut", "closes after DATA", Data, Cut),
        fault("content_cut", "closes in the middle of the message", Content, Cut),
        fault("dot_451", "answers the final dot with 451 and keeps nothing", Dot, Say("451 4.3.0 Local error")),
        fault("dot_552", "answers the final dot with 552 and keeps nothing", Dot, Say("552 5.3.4 Too large")),
        fault("dot_554", "answers the final dot with 554 and keeps nothing", Dot, Say("554 5.7.1 Looks like spam")),
        fault("dot_cut", "keeps the mail and closes without the final reply", Dot, Cut),
        fault("dot_silence", "keeps the mail and never says so", Dot, Silence),
    ]
}
