-- Tracks of the app's users: requests, their progress, and the paths of finished files in Storage.
-- Needs the extensions pg_net and pg_cron (Dashboard > Database > Extensions) and two secrets of Vault:
--   select vault.create_secret('https://YOUR_PROJECT.supabase.co', 'musicgen_project_url');
--   select vault.create_secret('sb_secret_...', 'musicgen_secret_key');

create table public.tracks (
  id uuid primary key,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  request jsonb not null check (pg_column_size(request) < 16384),
  prompt text not null check (char_length(prompt) between 1 and 2000),
  status text not null default 'queued' check (status in ('queued', 'running', 'ready', 'failed', 'canceled')),
  progress real not null default 0 check (progress between 0 and 1),
  job_id text,
  path text,
  error text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create index tracks_of_user on public.tracks (user_id, created_at desc);
create index tracks_unsent on public.tracks (created_at) where status = 'queued' and job_id is null;
create index tracks_unfinished on public.tracks (user_id) where status in ('queued', 'running');

-- Users read, add and delete their own rows. Status, job and path are written with the secret key alone.

alter table public.tracks enable row level security;
revoke all on public.tracks from anon, authenticated;
grant select, delete on public.tracks to authenticated;
grant insert (id, request, prompt) on public.tracks to authenticated;
grant all on public.tracks to service_role;

create policy "Users read their own tracks" on public.tracks
  for select to authenticated using (user_id = (select auth.uid()));
create policy "Users add their own tracks" on public.tracks
  for insert to authenticated with check (user_id = (select auth.uid()));
create policy "Users delete their own tracks" on public.tracks
  for delete to authenticated using (user_id = (select auth.uid()));

-- Ten tracks of a user may be unfinished. The lock lets a user's statements pass one after the other; the function is
-- volatile, so each row of a statement counts those before it. PostgREST answers the code PT429 with the status 429.

create function public.limit_tracks() returns trigger
language plpgsql volatile security definer set search_path = '' as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('tracks of ' || new.user_id, 0));
  if (
    select count(*) from public.tracks
    where user_id = new.user_id and id <> new.id and status in ('queued', 'running')
  ) >= 10 then
    raise sqlstate 'PT429' using
      message = 'Ten of your tracks are unfinished',
      hint = 'Wait for one of them, or cancel it';
  end if;
  return new;
end;
$$;
create trigger tracks_limited before insert on public.tracks
  for each row when (new.user_id = auth.uid()) execute function public.limit_tracks();

create function public.touch_track() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end;
$$;
create trigger tracks_touched before update on public.tracks
  for each row execute function public.touch_track();

-- Files: bucket `tracks`, private; the first folder is the user's id.

insert into storage.buckets (id, name, public) values ('tracks', 'tracks', false) on conflict (id) do nothing;

create policy "Users read their own files" on storage.objects
  for select to authenticated
  using (bucket_id = 'tracks' and (storage.foldername(name))[1] = (select auth.uid())::text);

-- Realtime: each change goes to the private channel `track:ID`, which the track's user may join.

create function public.broadcast_track() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes(
    'track:' || coalesce(new.id, old.id)::text, tg_op, tg_op, tg_table_name, tg_table_schema, new, old
  );
  return null;
end;
$$;
create trigger tracks_broadcast after insert or update or delete on public.tracks
  for each row execute function public.broadcast_track();

create policy "Users listen to their own tracks" on realtime.messages
  for select to authenticated
  using (
    exists (
      select 1 from public.tracks
      where user_id = (select auth.uid()) and 'track:' || id::text = (select realtime.topic())
    )
  );

-- Calls of the project's own API, with the secret key of Vault.

create schema if not exists musicgen;
revoke all on schema musicgen from public;

create function musicgen.secret(wanted text) returns text
language sql stable security definer set search_path = '' as $$
  select decrypted_secret from vault.decrypted_secrets where name = wanted;
$$;
revoke all on function musicgen.secret(text) from public;

create function musicgen.headers() returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('content-type', 'application/json', 'apikey', musicgen.secret('musicgen_secret_key'));
$$;
revoke all on function musicgen.headers() from public;

-- URL of a path of the project; null, with a warning, while Vault lacks a secret: pg_net takes no null, and its error
-- would undo the statement that called a trigger.

create function musicgen.address(path text) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
  project text := musicgen.secret('musicgen_project_url');
begin
  if project is null or musicgen.secret('musicgen_secret_key') is null then
    raise warning 'Vault lacks musicgen_project_url or musicgen_secret_key: % is not called', path;
    return null;
  end if;
  return rtrim(project, '/') || path;
end;
$$;
revoke all on function musicgen.address(text) from public;

-- A row that is deleted takes its file along.

create function public.erase_file() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  address text := musicgen.address('/storage/v1/object/tracks/' || old.path);
begin
  if address is not null then
    perform net.http_delete(url := address, headers := musicgen.headers());
  end if;
  return null;
end;
$$;
create trigger tracks_file_erased after delete on public.tracks
  for each row when (old.path is not null) execute function public.erase_file();

-- A row that is deleted before its end cancels its job.

create function public.cancel_job() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  address text := musicgen.address('/functions/v1/cancel-music');
begin
  if address is not null then
    perform net.http_post(
      url := address,
      headers := musicgen.headers(),
      body := jsonb_build_object('job_id', old.job_id),
      timeout_milliseconds := 30000
    );
  end if;
  return null;
end;
$$;
create trigger tracks_job_canceled after delete on public.tracks
  for each row when (old.job_id is not null and old.status in ('queued', 'running'))
  execute function public.cancel_job();

-- Each minute: send the tracks again that the service has not accepted yet. The idempotency key of a track makes this safe.

create function musicgen.resend_tracks() returns void
language plpgsql security definer set search_path = '' as $$
declare
  address text;
begin
  if not exists (
    select 1 from public.tracks
    where status = 'queued' and job_id is null and created_at < now() - interval '30 seconds'
  ) then
    return;
  end if;
  address := musicgen.address('/functions/v1/generate-music');
  if address is null then
    raise exception 'Vault lacks musicgen_project_url or musicgen_secret_key'; -- pg_cron records it
  end if;
  perform net.http_post(
    url := address,
    headers := musicgen.headers(),
    body := '{"resend": true}'::jsonb,
    timeout_milliseconds := 30000
  );
end;
$$;
revoke all on function musicgen.resend_tracks() from public;

-- Each night: delete tracks of more than 30 days.

create function musicgen.delete_old_tracks() returns void
language sql security definer set search_path = '' as $$
  delete from public.tracks where created_at < now() - interval '30 days';
$$;
revoke all on function musicgen.delete_old_tracks() from public;

select cron.schedule('musicgen-resend', '* * * * *', 'select musicgen.resend_tracks()');
select cron.schedule('musicgen-retention', '17 3 * * *', 'select musicgen.delete_old_tracks()');
