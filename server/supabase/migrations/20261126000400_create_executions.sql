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
grant select on public.trader_errors to authenticated;
grant select, insert, update, delete on public.trader_errors to service_role;
create policy "users read the errors of their own traders" on public.trader_errors
    for select to authenticated
    using (
        trader_id in (select t.id from public.traders t where t.user_id = (select auth.uid())));
