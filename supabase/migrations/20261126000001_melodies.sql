-- Melodies: users add files to their folder `USER/melodies` of the bucket `tracks`, and delete them. Tracks name them in
-- `request.melody`. The service's own files lie beside that folder, and stay out of the users' hands.

create policy "Users add their own melodies" on storage.objects
  for insert to authenticated
  with check (
    bucket_id = 'tracks'
    and (storage.foldername(name))[1] = (select auth.uid())::text
    and (storage.foldername(name))[2] = 'melodies'
  );

create policy "Users delete their own melodies" on storage.objects
  for delete to authenticated
  using (
    bucket_id = 'tracks'
    and (storage.foldername(name))[1] = (select auth.uid())::text
    and (storage.foldername(name))[2] = 'melodies'
  );
