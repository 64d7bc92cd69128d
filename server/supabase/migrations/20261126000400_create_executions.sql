-- What evaluations did: those worth a row, the sums of all, and what is wrong with a trader.

create table public.execution_history (
    trader_id uuid not null references public.traders (id) on delete cascade,
    filter_hash text not null,
    interval text not null,
    open_time_ms bigint not null,
    source text not null check (source in ('engine', 'request', 'cron')),
    started_ms bigint not null,
    duration_us bigint not null check (duration_us >= 0),
    symbols_checked integer not null check (symbols_checked >= 0),
    symbols_matched integer not null check (symbols_matched >= 0),
    symbols_unknown integer not null check (symbols_unknown >= 0),
    incomplete boolean not null,
    error text,
    primary key (trader_id, interval, open_time_ms, source)
);
create index execution_history_started_ms on public.execution_history (started_ms);
alter table public.execution_history enable row level security;
revoke all on public.execution_history from anon, authenticated, service_role;
grant select on public.execution_history to authenticated;
grant select, insert, update, delete on public.execution_history to service_role;
create policy "users read the history of their own traders" on public.execution_history
    for select to authenticated
    using (
        trader_id in (select t.id from public.traders t where t.user_id = (select auth.uid())));

create table public.trader_errors (
    trader_id uuid not null references public.traders (id) on delete cascade,
    filter_hash text not null,
    kind text not null,
    message text not null,
    first_ms bigint not null,
    last_ms bigint not null,
    count bigint not null default 1 check (count >= 1),
    primary key (trader_id, filter_hash, kind)
);
alter table public.trader_errors enable row level security;
revoke all on public.trader_errors from anon, authenticated, service_role;
grant select on public.trader_errors to authenticated;
grant select, insert, update, delete on public.trader_errors to service_role;
create policy "users read the errors of their own traders" on public.trader_errors
    for select to authenticated
    using (
        trader_id in (select t.id from public.traders t where t.user_id = (select auth.uid())));

-- Sums of the uploaded runs by the hour: they stay when the rows themselves are swept.
create table public.execution_hours (
    trader_id uuid not null references public.traders (id) on delete cascade,
    source text not null check (source in ('engine', 'request', 'cron')),
    hour_ms bigint not null check (hour_ms % 3600000 = 0),
    runs bigint not null,
    failed bigint not null,
    incomplete bigint not null,
    symbols_checked bigint not null,
    symbols_matched bigint not null,
    duration_us_sum bigint not null,
    duration_us_min bigint not null,
    duration_us_max bigint not null,
    primary key (trader_id, source, hour_ms)
);
create index execution_hours_hour_ms on public.execution_hours (hour_ms);
alter table public.execution_hours enable row level security;
revoke all on public.execution_hours from anon, authenticated, service_role;
grant select on public.execution_hours to authenticated;
grant select, delete on public.execution_hours to service_role;
create policy "users read the hours of their own traders" on public.execution_hours
    for select to authenticated
    using (
        trader_id in (select t.id from public.traders t where t.user_id = (select auth.uid())));

-- Counts rows that are new: one that comes again by its key is updated, and counts no more.
create function private.sum_executions() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    insert into public.execution_hours as h
        select a.trader_id, a.source, a.started_ms - a.started_ms % 3600000 as hour,
            count(*), count(a.error), count(*) filter (where a.incomplete),
            sum(a.symbols_checked), sum(a.symbols_matched),
            sum(a.duration_us), min(a.duration_us), max(a.duration_us)
        from added a
        group by a.trader_id, a.source, hour
        order by a.trader_id, a.source, hour -- the same for all, or two batches wait for each other
    on conflict (trader_id, source, hour_ms) do update set
        runs = h.runs + excluded.runs,
        failed = h.failed + excluded.failed,
        incomplete = h.incomplete + excluded.incomplete,
        symbols_checked = h.symbols_checked + excluded.symbols_checked,
        symbols_matched = h.symbols_matched + excluded.symbols_matched,
        duration_us_sum = h.duration_us_sum + excluded.duration_us_sum,
        duration_us_min = least(h.duration_us_min, excluded.duration_us_min),
        duration_us_max = greatest(h.duration_us_max, excluded.duration_us_max);
    return null;
end
$$;
revoke all on function private.sum_executions from public;
create trigger execution_history_sum after insert on public.execution_history
    referencing new table as added
    for each statement execute function private.sum_executions();
