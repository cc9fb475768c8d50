//! A private PostgreSQL cluster, made from the installed server programs.
