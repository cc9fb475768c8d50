//! E-mail through SMTP.
