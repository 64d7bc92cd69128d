-- What each tier may have, and which tier a user has.
--
-- Here and below: older projects grant whatever is made in public to every role of the API. That is
-- taken away first, so that what is granted is what is written.

create schema private;
revoke all on schema private from public;
grant usage on schema private to anon, authenticated, service_role;

-- In order: each includes the ones before it.
create type public.tier as enum ('anonymous', 'free', 'pro', 'elite');

-- The server has the same table in server/traders/tiers.py, but for stored_traders: of what it keeps
-- itself each owner has KLINE_TRADERS_PER_OWNER_MAX. Null stands for no limit.
create table public.tier_limits (
    tier public.tier primary key,
    custom_traders integer check (custom_traders >= 0), -- enabled ones of one user
    stored_traders integer not null check (stored_traders >= 0), -- enabled or not
    requests_per_min integer not null check (requests_per_min > 0),
    builtins_shown integer check (builtins_shown > 0),
    history boolean not null,
    notifications boolean not null
);
alter table public.tier_limits enable row level security;
revoke all on public.tier_limits from anon, authenticated, service_role;
grant select on public.tier_limits to anon, authenticated;
grant select, insert, update, delete on public.tier_limits to service_role;
create policy "tier limits are read by visitors" on public.tier_limits
    for select to anon using (true);
create policy "tier limits are read by users" on public.tier_limits
    for select to authenticated using (true);

insert into public.tier_limits values
    ('anonymous', 0, 0, 10, 10, false, false),
    ('free', 0, 20, 100, 30, true, false),
    ('pro', 10, 200, 500, null, true, true),
    ('elite', null, 5000, 1000, null, true, true);

-- Written with the secret key alone, by whoever takes the money. A user without a row is free.
create table public.user_tiers (
    user_id uuid primary key references auth.users (id) on delete cascade,
    tier public.tier not null references public.tier_limits (tier),
    status text not null default 'active' check (status in ('active', 'cancelled', 'past_due')),
    expires_at timestamptz
);
create index user_tiers_tier on public.user_tiers (tier);
create index user_tiers_expires_at on public.user_tiers (expires_at);
alter table public.user_tiers enable row level security;
revoke all on public.user_tiers from anon, authenticated, service_role;
grant select on public.user_tiers to authenticated;
grant select, insert, update, delete on public.user_tiers to service_role;
create policy "users read their own tier" on public.user_tiers
    for select to authenticated using (user_id = (select auth.uid()));

create function private.tier_of(who uuid) returns public.tier
language sql stable security definer set search_path = '' as $$
    select case
        when who is null then 'anonymous'::public.tier
        else coalesce(
            (
                select t.tier from public.user_tiers t
                where t.user_id = who and t.status = 'active'
                    and (t.expires_at is null or t.expires_at > now())
            ),
            'free'::public.tier)
    end
$$;
revoke all on function private.tier_of from public, anon, authenticated;

create function private.my_tier() returns public.tier
language sql stable security definer set search_path = '' as $$
    select private.tier_of((select auth.uid()))
$$;
revoke all on function private.my_tier from public;
grant execute on function private.my_tier to anon, authenticated;
