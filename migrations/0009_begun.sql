-- Who said last that a message is about to leave: a job and the token of its claim, for one claim takes many jobs.
--
-- A worker whose connection breaks while it says so cannot know whether that was written. It says so again, and has to
-- know its own word from that of somebody else: else the message, which has not left, would be taken for one that may have.
ALTER TABLE deliveries ADD COLUMN begun_by bigint, ADD COLUMN begun_under bigint;
