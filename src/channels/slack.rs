//! Slack, by incoming webhook or by bot.
