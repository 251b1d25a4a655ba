create table jobs (
  id text primary key,
  owner text not null,
  model text not null,
  status text not null check (status in ('queued', 'running', 'succeeded', 'failed', 'canceled')),
  version integer not null,
  request text not null,
  priority integer not null,
  attempt integer not null,
  progress double precision not null,
  audio_s double precision not null,
  requested_audio_s double precision not null,
  cancel_requested boolean not null,
  metadata text not null,
  details text not null,
  webhook text,
  upload text,
  created_at double precision not null,
  run_at double precision not null,
  started_at double precision,
  finished_at double precision,
  deadline_at double precision,
  expires_at double precision,
  kept_s double precision not null,
  lease text,
  lease_until double precision,
  announced boolean not null,
  results text not null,
  results_deleted boolean not null,
  error text,
  cost_usd double precision
);

create index jobs_queued on jobs (model, priority desc, created_at, id) where status = 'queued';
create index jobs_running on jobs (lease_until) where status = 'running';
create index jobs_unfinished on jobs (owner) where status in ('queued', 'running');
create index jobs_deadline on jobs (deadline_at) where status in ('queued', 'running') and deadline_at is not null;
create index jobs_unannounced on jobs (id) where not announced;
create index jobs_kept on jobs (expires_at) where expires_at is not null and not results_deleted;
create index jobs_ended on jobs (finished_at) where results_deleted;
create index jobs_listed on jobs (owner, id);
create index jobs_status on jobs (status);

create table idempotency_keys (
  owner text not null,
  key text not null,
  job_id text not null references jobs (id) on delete cascade,
  body_sha256 text not null,
  created_at double precision not null,
  primary key (owner, key)
);
create index idempotency_keys_job on idempotency_keys (job_id);
create index idempotency_keys_age on idempotency_keys (created_at);

create table deliveries (
  id text primary key,
  job_id text not null references jobs (id) on delete cascade,
  owner text not null,
  url text not null,
  event text not null,
  body text not null,
  attempt integer not null,
  created_at double precision not null,
  due_at double precision not null,
  lease text,
  settled boolean not null,
  delivered_at double precision,
  last_status integer,
  last_error text
);
create index deliveries_due on deliveries (due_at) where not settled;
create index deliveries_job on deliveries (job_id);

create table webhooks_disabled (
  owner text not null,
  url text not null,
  created_at double precision not null,
  primary key (owner, url)
);

create table webhook_secrets (
  owner text not null,
  secret text not null,
  created_at double precision not null,
  expires_at double precision,
  primary key (owner, secret)
);
create unique index webhook_secrets_current on webhook_secrets (owner) where expires_at is null;

create table store_secrets (
  name text primary key,
  value text not null
);

-- Files of deleted jobs and of expired results, until their erasure has been asked for often enough.
create table erasures (
  key text primary key,
  due_at double precision not null,
  asked integer not null
);
create index erasures_due on erasures (due_at);
