-- Signals: one row for a trader, a filter, a symbol and a kline, whatever is run how often.

create table public.trader_signals (
    id uuid primary key, -- made of the natural key below
    trader_id uuid not null references public.traders (id) on delete cascade,
    filter_hash text not null,
    market text not null,
    symbol text not null,
    interval text not null,
    open_time_ms bigint not null,
    -- As text from the server: a double would take NaN, and lose digits.
    price numeric not null check (price > 0 and price < 'Infinity'),
    status text not null check (status in ('fired', 'provisional', 'confirmed', 'retracted')),
    revision integer not null check (revision >= 1),
    data_revision bigint not null,
    complete boolean not null,
    sub_values jsonb not null check (jsonb_typeof(sub_values) = 'object'),
    anchors jsonb not null check (jsonb_typeof(anchors) = 'object'),
    at_ms bigint not null,
    historical boolean not null default false,
    unique (trader_id, filter_hash, market, symbol, interval, open_time_ms)
);
create index trader_signals_at_ms on public.trader_signals (at_ms);
create index trader_signals_trader_at_ms on public.trader_signals (trader_id, at_ms desc);
alter table public.trader_signals enable row level security;
revoke all on public.trader_signals from anon, authenticated, service_role;
grant select on public.trader_signals to anon, authenticated;
grant select, insert, update, delete on public.trader_signals to service_role;

-- Whose trader one may read, by the policies of traders, their signals one may read.
create policy "visitors read signals of traders they read" on public.trader_signals
    for select to anon using (trader_id in (select t.id from public.traders t));
create policy "users read signals of traders they read" on public.trader_signals
    for select to authenticated using (trader_id in (select t.id from public.traders t));

-- A provisional signal that comes late does not undo its confirmation.
create function private.keep_newest_revision() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if new.revision <= old.revision then
        return null;
    end if;
    return new;
end
$$;
revoke all on function private.keep_newest_revision from public;
create trigger trader_signals_revision before update on public.trader_signals
    for each row execute function private.keep_newest_revision();
