-- Traders: users' own, and built-in ones that belong to nobody.

create table public.traders (
    id uuid primary key default gen_random_uuid(),
    user_id uuid default auth.uid() references auth.users (id) on delete cascade,
    name text not null check (char_length(name) between 1 and 120),
    filter text not null check (char_length(filter) between 1 and 4096),
    interval text not null check (interval ~ '^[1-9][0-9]?[smhdwM]$'),
    market text not null default 'spot' check (char_length(market) between 1 and 40),
    symbols text[] not null default '{}'
        check (cardinality(symbols) <= 1000 and array_position(symbols, null) is null),
    mode text not null default 'edge' check (mode in ('edge', 'level')),
    cooldown_bars integer not null default 0 check (cooldown_bars between 0 and 100000),
    evaluate_on text not null default 'closed' check (evaluate_on in ('closed', 'forming')),
    enabled boolean not null default true,
    paused_reason text, -- why it does not run although it is enabled; 'tier': beyond the quota
    description text not null default '' check (char_length(description) <= 4000),
    conditions text[] not null default '{}' check (
        cardinality(conditions) <= 50 and array_position(conditions, null) is null),
    indicators jsonb not null default '[]' check (
        jsonb_typeof(indicators) = 'array' and octet_length(indicators::text) <= 32768),
    access_tier public.tier not null default 'anonymous', -- of a built-in one
    category text check (
        category in ('momentum', 'reversal', 'trend', 'volume', 'volatility', 'pattern')),
    difficulty text check (difficulty in ('beginner', 'intermediate', 'advanced')),
    is_built_in boolean generated always as (user_id is null) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index traders_user_id on public.traders (user_id);
create index traders_access_tier on public.traders (access_tier) where user_id is null;
alter table public.traders enable row level security;
revoke all on public.traders from anon, authenticated, service_role;

-- By columns: whose a trader is, when it was made and why it is paused is not for users to say.
grant select, delete on public.traders to authenticated;
grant select on public.traders to anon;
grant insert (name, description, conditions, filter, interval, market, symbols, mode,
    cooldown_bars, evaluate_on, indicators, enabled) on public.traders to authenticated;
grant update (name, description, conditions, filter, interval, market, symbols, mode,
    cooldown_bars, evaluate_on, indicators, enabled) on public.traders to authenticated;
grant select, insert, update, delete on public.traders to service_role;

create policy "visitors read built-in traders of their tier" on public.traders
    for select to anon
    using (user_id is null and enabled and access_tier <= (select private.my_tier()));
create policy "users read their own traders and built-in ones of their tier" on public.traders
    for select to authenticated
    using (
        user_id = (select auth.uid())
        or (user_id is null and enabled and access_tier <= (select private.my_tier())));
create policy "users make traders of their own" on public.traders
    for insert to authenticated with check (user_id = (select auth.uid()));
create policy "users change their own traders" on public.traders
    for update to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "users delete their own traders" on public.traders
    for delete to authenticated using (user_id = (select auth.uid()));

-- The server reads again what says another time than before: each change says a time of its own.
create function private.touch() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end
$$;
revoke all on function private.touch from public;
create trigger traders_touch before update on public.traders
    for each row execute function private.touch();

-- Two inserts at once see one another's rows only by turns: the lock is what makes them take turns.
create function private.lock_traders_of(who uuid) returns void
language sql security definer set search_path = '' as $$
    select pg_advisory_xact_lock(hashtextextended(who::text, 0))
$$;
revoke all on function private.lock_traders_of from public;

create function private.check_quota() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    has public.tier;
    limits public.tier_limits;
    running bigint;
    stored bigint;
begin
    if new.user_id is null then
        return new;
    end if;
    perform private.lock_traders_of(new.user_id);
    has := private.tier_of(new.user_id);
    select l.* into strict limits from public.tier_limits l where l.tier = has;
    select count(*) filter (where t.enabled and t.paused_reason is distinct from 'tier'), count(*)
        into running, stored
        from public.traders t where t.user_id = new.user_id and t.id <> new.id;
    if stored >= limits.stored_traders
        and (tg_op = 'INSERT' or old.user_id is distinct from new.user_id)
    then
        raise sqlstate 'PT403' using
            message = format('the tier %s keeps at most %s traders', has, limits.stored_traders),
            hint = 'delete one first';
    end if;
    if not new.enabled then
        if new.paused_reason = 'tier' then
            new.paused_reason := null;
        end if;
        return new;
    end if;
    if running >= limits.custom_traders then
        if tg_op = 'UPDATE' and old.enabled and old.user_id = new.user_id then
            return new; -- it was switched on before: paused it stays paused
        end if;
        raise sqlstate 'PT403' using
            message = format('the tier %s runs at most %s traders', has, limits.custom_traders),
            hint = 'disable one first';
    end if;
    if new.paused_reason = 'tier' then
        new.paused_reason := null;
    end if;
    return new;
end
$$;
revoke all on function private.check_quota from public;
create trigger traders_quota before insert or update of enabled, user_id on public.traders
    for each row execute function private.check_quota();

-- Whoever fits traders to a tier takes the lock and then the rows; so must a user who changes some,
-- or each could wait for the other: a trigger for each row comes when its row is taken already.
create function private.lock_own_traders() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if auth.uid() is not null then
        perform private.lock_traders_of(auth.uid());
    end if;
    return null;
end
$$;
revoke all on function private.lock_own_traders from public;
create trigger traders_lock before update of enabled, user_id on public.traders
    for each statement execute function private.lock_own_traders();

-- The oldest that the tier allows run; the others are enabled, and paused because of the tier.
create function private.fit_to_tier(who uuid) returns void
language plpgsql security definer set search_path = '' as $$
declare
    allowed integer;
begin
    perform private.lock_traders_of(who);
    select l.custom_traders into allowed
        from public.tier_limits l where l.tier = private.tier_of(who);
    update public.traders t
        set paused_reason = case when r.place <= coalesce(allowed, r.place) then null else 'tier' end
        from (
            select x.id, row_number() over (order by x.created_at, x.id) as place
            from public.traders x
            where x.user_id = who and x.enabled
                and (x.paused_reason is null or x.paused_reason = 'tier')
        ) r
        where t.id = r.id
            and t.paused_reason is distinct from
                case when r.place <= coalesce(allowed, r.place) then null else 'tier' end;
end
$$;
revoke all on function private.fit_to_tier from public;

create function private.follow_tier() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    perform private.fit_to_tier(coalesce(new.user_id, old.user_id));
    return null;
end
$$;
revoke all on function private.follow_tier from public;
create trigger user_tiers_follow after insert or update or delete on public.user_tiers
    for each row execute function private.follow_tier();
