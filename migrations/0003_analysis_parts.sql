-- A transcript that is longer than ANALYSIS_MAX_INPUT_TOKENS is analyzed in so many parts; null = in one piece. Safe on a
-- running system: a column without a default rewrites nothing, and older programs do not name it.

ALTER TABLE call_summaries ADD COLUMN analyzed_in_parts integer;
