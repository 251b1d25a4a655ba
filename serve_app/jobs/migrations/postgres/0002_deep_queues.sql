-- Sums over the queue and counts of unfinished jobs are read from an index alone. An index on the
-- status alone, which planners took in their place, is gone; pages of one status have another.
drop index musicgen.jobs_status;
drop index musicgen.jobs_queued;
create index jobs_queued on musicgen.jobs (model, priority desc, created_at, id, requested_audio_s, status) where status = 'queued';
drop index musicgen.jobs_unfinished;
create index jobs_unfinished on musicgen.jobs (owner, status) where status in ('queued', 'running');
create index jobs_listed_by_status on musicgen.jobs (owner, status, id);
