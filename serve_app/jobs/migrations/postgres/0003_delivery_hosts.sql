-- Host and port of each message's address, which bound the messages that are sent at a time.
alter table musicgen.deliveries add column host text not null default '';
update musicgen.deliveries set host = lower(split_part(split_part(url, '://', 2), '/', 1));
