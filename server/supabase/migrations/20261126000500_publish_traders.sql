-- Realtime tells the server that traders changed. Signals are not fanned out by the database:
-- the server's own streams carry them, and bursts would be lost here.

do $$
begin
    if not exists (select from pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
    alter publication supabase_realtime add table public.traders;
end
$$;
