-- Host and port of each message's address, which bound the messages that are sent at a time.
alter table deliveries add column host text not null default '';
update deliveries set host = lower(substr(url, instr(url, '://') + 3));
update deliveries set host = substr(host, 1, instr(host, '/') - 1) where instr(host, '/') > 0;
