#!lua flags=no-writes
-- Reads the head of a channel. KEYS: head, log, data set. Answers what `head_of` does.
--@ head_of

return head_of(KEYS[1], KEYS[2], KEYS[3])
