//! THE list of failures: a short word for every way in which a step can fail or has to wait.

use crate::text_enum;

text_enum!(
    /// What kind of trouble ended an attempt: for filters, counts and `docs/failures.md`, which has a row for each and says
    /// what a person does. The words are stored with the attempts: add some, rename none.
    ///
    /// The sentence beside it says what happened and what a person can do about it, and nothing of what the product does
    /// next: the same sentence stands there when the job is tried again and when it has been given up.
    FailureClass {
        // Every step.
        /// An error that nobody foresaw.
        Internal = "internal",
        /// The step hit a bug and was caught.
        Panic = "panic",
        /// The step outlived its own time limit.
        StepTimeout = "step_timeout",
        /// The worker died or froze.
        Lost = "lost",
        /// That happened too often in a row.
        Poison = "poison",
        /// The database is away or refused.
        Database = "database",
        /// The database refused the end of the step.
        Unstorable = "unstorable",

        // Every upstream.
        /// A setting is missing or cannot be used.
        NotConfigured = "not_configured",
        /// The host's name cannot be resolved.
        Dns = "dns",
        /// No connection was made.
        Connect = "connect",
        /// The connection broke before the whole answer was there.
        ConnectionLost = "connection_lost",
        /// The upstream took too long.
        Timeout = "timeout",
        /// The upstream wants fewer requests.
        RateLimited = "rate_limited",
        /// The upstream is in trouble itself.
        ServerError = "server_error",
        /// The upstream refuses our key.
        KeyRefused = "key_refused",

        // Recordings.
        /// The call names none.
        NoRecording = "no_recording",
        /// The host does not have it, or not yet.
        NotReady = "not_ready",
        /// The link has expired or is not for us.
        LinkRefused = "link_refused",
        /// An answer that no recording host should give.
        UnexpectedStatus = "unexpected_status",
        /// Something else than audio came.
        NotAudio = "not_audio",
        /// It is larger than permitted.
        RecordingTooLarge = "recording_too_large",
        /// It hardly arrives.
        TooSlow = "too_slow",
        /// Its address is no URL.
        NotAUrl = "not_a_url",
        /// Its URL has a form that is not fetched.
        RefusedUrl = "refused_url",
        /// Its host is not a permitted one.
        RefusedHost = "refused_host",
        /// Its host leads elsewhere in a way that is not followed.
        RefusedRedirect = "refused_redirect",
        /// Its host is not on the public internet.
        PrivateAddress = "private_address",
        /// The store does not work.
        Store = "store",
        /// The store is full.
        NoSpace = "no_space",
        /// It is no longer in the store.
        RecordingGone = "recording_gone",
        /// It cannot be decoded.
        UnsupportedAudio = "unsupported_audio",

        // The transcription and the analysis server.
        /// The account has no money.
        Quota = "quota",
        /// The key is good, but not for this.
        NotPermitted = "not_permitted",
        /// There is no such model or address.
        NotFound = "not_found",
        /// The address leads elsewhere.
        Redirected = "redirected",
        /// The request is refused as it is.
        BadRequest = "bad_request",
        /// The request has too many bytes.
        TooLarge = "too_large",
        /// One request alone is above the account's limit.
        RequestTooLarge = "request_too_large",
        /// An answer that cannot be used.
        BadAnswer = "bad_answer",
        /// Less than a second of audio is still too much.
        AudioTooLong = "audio_too_long",
        /// The transcript is too long for the model.
        ContextTooLong = "context_too_long",
        /// The model's answer was cut off.
        CutOff = "cut_off",
        /// The model, or a filter before it, refuses.
        Refused = "refused",

        // Messages.
        /// It is night.
        QuietHours = "quiet_hours",
        /// The settings no longer name the channel or the recipient.
        ChannelOff = "channel_off",
        /// The message may have arrived.
        UnknownOutcome = "unknown_outcome",
        /// Slack refuses the channel or the webhook.
        SlackDestination = "slack_destination",
        /// Slack refuses the token.
        SlackCredentials = "slack_credentials",
        /// Slack refuses the message.
        SlackMessage = "slack_message",
        /// Slack is in trouble itself.
        SlackUnavailable = "slack_unavailable",
        /// Slack says something unheard of.
        SlackUnexpected = "slack_unexpected",
        /// The mail server wants us to come again.
        SmtpTryLater = "smtp_try_later",
        /// The mail server does not talk to us.
        SmtpServerRefused = "smtp_server_refused",
        /// The mail server offers no STARTTLS.
        SmtpNoStarttls = "smtp_no_starttls",
        /// The mail server refuses the login, or wants one.
        SmtpLoginRefused = "smtp_login_refused",
        /// The mail server refuses the sender.
        SmtpSenderRefused = "smtp_sender_refused",
        /// The mail server refuses the recipient.
        SmtpRecipientRefused = "smtp_recipient_refused",
        /// The mail server refuses the mail itself.
        SmtpMessageRefused = "smtp_message_refused",
        /// The mail could not be written.
        MailNotMade = "mail_not_made",
    }
);
